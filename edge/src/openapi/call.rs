//! One call, put together from what its extractors and its answer say.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::Schemas;
use crate::Problem;
use crate::auth::scope_needed;
use crate::problem::MEDIA_TYPE;

/// Something that a handler takes: says what it wants of a request, and why it refuses one.
pub trait Part {
    /// Adds that to the call.
    fn describe(call: &mut Call<'_>);
}

/// Something that a handler answers with.
pub trait Answer {
    /// Adds that to the call.
    fn describe(call: &mut Call<'_>);
}

impl<T: Answer> Answer for Result<T, Problem> {
    fn describe(call: &mut Call<'_>) {
        T::describe(call);
    }
}

/// A call in the making.
pub struct Call<'a> {
    schemas: &'a mut Schemas,
    /// The names in the path.
    names: Vec<String>,
    parameters: BTreeMap<(&'static str, String), Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    problems: BTreeMap<u16, BTreeMap<String, Problem>>,
    token: Token,
    /// What a token must be good for.
    scope: String,
}

/// Whether a call wants to know who asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    No,
    Welcome,
    Required,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: &Method, path: &str, schemas: &'a mut Schemas) -> Self {
        let inner = path.split('/').filter_map(|part| part.strip_prefix('{'));
        let names = inner.filter_map(|part| part.strip_suffix('}').map(str::to_owned));
        Self {
            schemas,
            names: names.collect(),
            parameters: BTreeMap::new(),
            body: None,
            answers: BTreeMap::new(),
            problems: BTreeMap::new(),
            token: Token::No,
            scope: scope_needed(method, path),
        }
    }

    /// The name in the path at this place, from 0, stands for a `T`.
    pub fn in_path<T: JsonSchema>(&mut self, place: usize) {
        let schema = self.schemas.asked::<T>();
        self.path_is(place, &schema);
    }

    /// A header of the request. What several parts want is required if one of them requires it.
    pub fn header(&mut self, name: &str, required: bool, description: &str, schema: &Value) {
        let key = ("header", name.to_owned());
        let before = self.parameters.get(&key);
        let required = required || before.is_some_and(|known| known["required"] == true);
        let parameter = json!({
            "in": "header", "name": name, "required": required,
            "description": description, "schema": schema,
        });
        self.parameters.insert(key, parameter);
    }

    /// Parameters of the query: each field of `T` is one.
    pub fn query<T: JsonSchema>(&mut self) {
        let schema = schemars::generate::SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<T>()
            .to_value();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let mut field = field.clone();
            let about = field
                .as_object_mut()
                .and_then(|it| it.remove("description"));
            let parameter = json!({
                "in": "query", "name": name,
                "required": required.iter().any(|one| one == name),
                "description": about.unwrap_or_default(),
                "schema": without_null(field),
            });
            self.parameters.insert(("query", name.clone()), parameter);
        }
    }

    /// One parameter of the query, which may be left out. The schema's `examples` are values that the
    /// shop of the document's test has something for.
    pub fn parameter(&mut self, name: &'static str, description: &str, schema: &Value) {
        let parameter = json!({
            "in": "query", "name": name, "required": false,
            "description": description, "schema": schema,
        });
        self.parameters
            .insert(("query", name.to_owned()), parameter);
    }

    /// The name in the path at this place stands for what `schema` says.
    pub fn path_is(&mut self, place: usize, schema: &Value) {
        if let Some(name) = self.names.get(place).cloned() {
            let parameter = json!({
                "in": "path", "name": name, "required": true, "schema": schema,
            });
            self.parameters.insert(("path", name), parameter);
        }
    }

    /// The body of the request, as JSON. One whose fields may all be left out may be left out.
    pub fn body<T: JsonSchema>(&mut self) {
        let schema = self.schemas.asked::<T>();
        let whole = schemars::schema_for!(T).to_value();
        let required = whole["required"]
            .as_array()
            .is_some_and(|it| !it.is_empty());
        self.body = Some(json!({
            "required": required,
            "content": { "application/json": { "schema": schema } },
        }));
    }

    /// The body of the request in another format.
    pub fn body_as(&mut self, media_type: &str, description: &str, schema: &Value) {
        self.body = Some(json!({
            "required": true,
            "description": description,
            "content": { media_type: { "schema": schema } },
        }));
    }

    /// An answer with a JSON body.
    pub fn answer<T: JsonSchema>(&mut self, status: StatusCode, description: &str) {
        let schema = self.schemas.told::<T>();
        self.answer_of(status, description, &schema);
    }

    /// An answer whose JSON body is as `schema` says.
    pub fn answer_of(&mut self, status: StatusCode, description: &str, schema: &Value) {
        let answer = json!({
            "description": description,
            "content": { "application/json": { "schema": schema } },
        });
        self.answers.insert(status.as_u16(), answer);
    }

    /// The schema of something that an answer holds.
    pub fn told(&mut self, schema: fn(&mut SchemaGenerator) -> Schema) -> Value {
        self.schemas.told_by(schema)
    }

    /// The schema of something that a request holds.
    pub fn asked<T: JsonSchema>(&mut self) -> Value {
        self.schemas.asked::<T>()
    }

    /// An answer of server-sent events (WHATWG HTML); the schema is that of one of them.
    pub fn answer_with_events(&mut self, status: StatusCode, description: &str) {
        let event = json!({
            "type": "object",
            "required": ["data"],
            "properties": {
                "id": { "type": "string" },
                "event": { "type": "string" },
                "data": { "type": "string", "contentMediaType": "application/json" },
                "retry": { "type": "integer", "minimum": 0 },
            },
        });
        let content = json!({ "text/event-stream": { "schema": event } });
        let answer = json!({ "description": description, "content": content });
        self.answers.insert(status.as_u16(), answer);
    }

    /// An answer in another format, or without a body (`None`).
    pub fn answer_as(&mut self, status: StatusCode, description: &str, media_type: Option<&str>) {
        let mut answer = json!({ "description": description });
        if let Some(media_type) = media_type {
            answer["content"] = json!({ media_type: { "schema": { "type": "string" } } });
        }
        self.answers.insert(status.as_u16(), answer);
    }

    /// A header of the answer with this status, which was described before.
    pub fn tells(&mut self, status: StatusCode, name: &str, required: bool, description: &str) {
        if let Some(answer) = self.answers.get_mut(&status.as_u16()) {
            answer["headers"][name] = json!({
                "description": description,
                "required": required,
                "schema": { "type": "string" },
            });
        }
    }

    /// A way in which the call may be refused.
    pub fn problem(&mut self, problem: Problem) {
        let status = problem.status.as_u16();
        let code = problem.code.to_string();
        self.problems
            .entry(status)
            .or_default()
            .insert(code, problem);
    }

    /// The call needs a token.
    pub fn needs_token(&mut self) {
        self.token = Token::Required;
        self.problem(Problem::insufficient_scope(&self.scope));
    }

    /// The call takes a token, and answers without one as well.
    pub fn takes_token(&mut self) {
        self.token = Token::Welcome;
        self.problem(Problem::insufficient_scope(&self.scope));
    }

    /// As an operation object. `example` is a request's body. Answers that many calls have stand in
    /// `shared`, by name.
    pub(super) fn operation(
        mut self,
        example: Option<&Value>,
        shared: &mut Map<String, Value>,
    ) -> Map<String, Value> {
        let mut operation = Map::new();
        if !self.parameters.is_empty() {
            let all = self.parameters.into_values().collect();
            operation.insert("parameters".to_owned(), Value::Array(all));
        }
        if let Some(mut body) = self.body {
            for (_, media) in body["content"].as_object_mut().into_iter().flatten() {
                if let Some(example) = example {
                    media["example"] = example.clone();
                }
            }
            operation.insert("requestBody".to_owned(), body);
        }
        let security = match self.token {
            Token::No => json!([]),
            Token::Welcome => json!([{}, { "token": [self.scope] }]),
            Token::Required => json!([{ "token": [self.scope] }]),
        };
        operation.insert("security".to_owned(), security);
        for (status, problems) in &self.problems {
            let mut name = status.to_string();
            for code in problems.keys() {
                name.push('.');
                name.push_str(code);
            }
            let place = json!({ "$ref": format!("#/components/responses/{name}") });
            self.answers.insert(*status, place);
            shared.insert(name, refused(problems));
        }
        let answers = self.answers.into_iter();
        let answers = answers.map(|(status, answer)| (status.to_string(), answer));
        operation.insert("responses".to_owned(), Value::Object(answers.collect()));
        operation
    }
}

/// All the problems of one status.
fn refused(problems: &BTreeMap<String, Problem>) -> Value {
    let lines: Vec<String> = problems
        .iter()
        .map(|(code, problem)| format!("- [`{code}`](/problems/{code}): {}", problem.title))
        .collect();
    let codes: Vec<&String> = problems.keys().collect();
    let mut answer = json!({
        "description": lines.join("\n"),
        "content": { MEDIA_TYPE: { "schema": {
            "allOf": [
                { "$ref": "#/components/schemas/Problem" },
                { "properties": { "code": { "enum": codes } } },
            ],
        } } },
    });
    if problems
        .values()
        .any(|problem| problem.retry_after.is_some())
    {
        answer["headers"]["Retry-After"] = json!({
            "description": "Seconds to wait before the same request may succeed.",
            "schema": { "type": "integer", "minimum": 1 },
        });
    }
    if problems
        .values()
        .any(|it| it.status == StatusCode::UNAUTHORIZED)
    {
        answer["headers"]["WWW-Authenticate"] = json!({
            "description": "How to say who asks (RFC 6750).",
            "schema": { "type": "string" },
        });
    }
    answer
}

/// A parameter that may be left out is never `null`.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    if let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| choice["type"] != "null");
        if let [only] = choices.as_slice() {
            return only.clone();
        }
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
    schema
}
