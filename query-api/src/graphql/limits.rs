//! How much one operation may ask for.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextPrepareRequest, NextValidation,
};
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{
    ErrorExtensionValues, Name, Request, ServerError, ServerResult, ValidationResult,
};
use edge::Problem;

use crate::failure::parameter;

/// Most levels below an operation: what the usual introspection of a whole schema needs.
pub(super) const DEPTH_MAX: usize = 15;

/// Most fields of one answer, where each field of a list counts as often as the list may be long.
pub(super) const COMPLEXITY_MAX: usize = 20_000;

/// What a field of a line's product counts for: its description may be long, and stands in each line again.
pub(super) const PRODUCT_COST: usize = 10;

/// Most fields under another name.
pub(super) const ALIASES_MAX: usize = 20;

/// Most selections of an operation, where those of a fragment count wherever it is spread: that is
/// how often the library, which spreads anew each time, looks at them.
pub(super) const SELECTIONS_MAX: usize = 2_000;

/// Most brackets within each other in the text of an operation. The parser goes down the stack with
/// each, before anything is known of the operation; the process would end where the stack does.
pub(super) const NESTING_MAX: usize = 64;

/// Longest operation, in bytes.
pub(super) const QUERY_BYTES_MAX: usize = 16 * 1024;

/// Rows of a page when nothing else is asked for.
pub(super) const FIRST_DEFAULT: i32 = 20;

/// Most rows of a page.
pub(super) const FIRST_MAX: i32 = 50;

/// 400 when an operation is too long to be looked at.
pub(super) fn length(query: &str) -> Result<(), Problem> {
    if query.len() > QUERY_BYTES_MAX {
        let detail = format!("query must not be longer than {QUERY_BYTES_MAX} bytes");
        return Err(parameter(detail));
    }
    Ok(())
}

/// What a page of `first` rows counts for, each of which counts for `one`.
pub(super) fn page(first: i32, one: usize) -> usize {
    let rows = usize::try_from(first.clamp(1, FIRST_MAX)).unwrap_or(1);
    rows.saturating_mul(one).saturating_add(1)
}

/// Refuses what is beyond them, and says by how much.
pub(super) struct Limits;

impl ExtensionFactory for Limits {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_graphql::async_trait::async_trait]
impl Extension for Limits {
    /// Before the library has a look of its own, which takes time without end for a few fragments
    /// that spread each other.
    async fn prepare_request(
        &self,
        ctx: &ExtensionContext<'_>,
        mut request: Request,
        next: NextPrepareRequest<'_>,
    ) -> ServerResult<Request> {
        let nesting = nesting(&request.query);
        within(
            "brackets within each other",
            "too_deep",
            nesting,
            NESTING_MAX,
        )?;
        let document = request.parsed_query()?;
        let size = Sizes::of(document)?;
        within("aliases", "too_many_aliases", size.aliases, ALIASES_MAX)?;
        within("selections", "too_complex", size.selections, SELECTIONS_MAX)?;
        next.run(ctx, request).await
    }

    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        let result = next.run(ctx).await?;
        let deep = within("levels", "too_deep", result.depth, DEPTH_MAX);
        let wide = within("fields", "too_complex", result.complexity, COMPLEXITY_MAX);
        let errors: Vec<_> = [deep, wide].into_iter().filter_map(Result::err).collect();
        if errors.is_empty() {
            Ok(result)
        } else {
            Err(errors)
        }
    }
}

fn within(what: &str, code: &str, count: usize, most: usize) -> ServerResult<()> {
    if count <= most {
        return Ok(());
    }
    let message = format!("the operation asks for {count} {what}; at most {most} are answered");
    Err(coded(message, code))
}

fn coded(message: String, code: &str) -> ServerError {
    let mut error = ServerError::new(message, None);
    let mut more = ErrorExtensionValues::default();
    more.set("code", code);
    error.extensions = Some(more);
    error
}

/// How many brackets are open at once in a text, whatever they mean. What stands in strings and
/// comments doesn't count (GraphQL §2.1).
fn nesting(text: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find(['\n', '\r']),
            // A block without an end is an empty string with another behind it.
            '"' => string_end(rest).or(Some("\"\"".len())),
            '{' | '[' | '(' => {
                open += 1;
                most = most.max(open);
                Some(1)
            }
            '}' | ']' | ')' => {
                open = open.saturating_sub(1);
                Some(1)
            }
            other => Some(other.len_utf8()),
        };
        rest = length
            .and_then(|length| rest.get(length..))
            .unwrap_or_default();
    }
    most
}

/// Where the string ends with which the text begins; `None` = it has no end. A line's end ends one that is
/// no block.
fn string_end(text: &str) -> Option<usize> {
    let (quotes, escape) = if text.starts_with("\"\"\"") {
        ("\"\"\"", "\\\"\"\"")
    } else {
        ("\"", "\\")
    };
    let is_block = quotes.len() > 1;
    let mut at = quotes.len();
    loop {
        let rest = text.get(at..)?;
        let next = rest.chars().next()?;
        if rest.starts_with(quotes) {
            return Some(at + quotes.len());
        }
        if !is_block && matches!(next, '\n' | '\r') {
            return Some(at);
        }
        at += if rest.starts_with(escape) {
            // Whatever is escaped is no end.
            let escaped = rest.get(escape.len()..)?.chars().next();
            escape.len() + escaped.filter(|_| !is_block).map_or(0, char::len_utf8)
        } else {
            next.len_utf8()
        };
    }
}

/// How large a part of an operation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    /// Everything that stands in it, fragments as often as they are spread.
    selections: usize,
    /// The fields under another name among it.
    aliases: usize,
}

impl Size {
    fn plus(self, other: Self) -> Self {
        Self {
            selections: self.selections.saturating_add(other.selections),
            aliases: self.aliases.saturating_add(other.aliases),
        }
    }
}

/// Measures a document in one pass over its text, however large it is spread out.
struct Sizes<'a> {
    document: &'a ExecutableDocument,
    /// `None` = it is being measured.
    fragments: HashMap<&'a Name, Option<Size>>,
}

impl<'a> Sizes<'a> {
    /// All operations of the document together.
    ///
    /// # Errors
    /// A fragment spreads itself.
    fn of(document: &'a ExecutableDocument) -> ServerResult<Size> {
        let mut sizes = Self {
            document,
            fragments: HashMap::new(),
        };
        document
            .operations
            .iter()
            .try_fold(Size::default(), |sum, (_, operation)| {
                Ok(sum.plus(sizes.set(&operation.node.selection_set.node)?))
            })
    }

    fn set(&mut self, set: &'a SelectionSet) -> ServerResult<Size> {
        set.items.iter().try_fold(Size::default(), |sum, item| {
            let (aliases, below) = match &item.node {
                Selection::Field(field) => {
                    let aliases = usize::from(field.node.alias.is_some());
                    (aliases, self.set(&field.node.selection_set.node)?)
                }
                Selection::InlineFragment(inline) => {
                    (0, self.set(&inline.node.selection_set.node)?)
                }
                Selection::FragmentSpread(spread) => {
                    (0, self.fragment(&spread.node.fragment_name.node)?)
                }
            };
            let one = Size {
                selections: 1,
                aliases,
            };
            Ok(sum.plus(one).plus(below))
        })
    }

    /// One that isn't there is nothing here: that is said by the library.
    fn fragment(&mut self, name: &Name) -> ServerResult<Size> {
        let Some((name, fragment)) = self.document.fragments.get_key_value(name) else {
            return Ok(Size::default());
        };
        match self.fragments.get(name) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Err(circular(name)),
            None => {}
        }
        self.fragments.insert(name, None);
        let size = self.set(&fragment.node.selection_set.node)?;
        self.fragments.insert(name, Some(size));
        Ok(size)
    }
}

fn circular(name: &Name) -> ServerError {
    coded(format!("the fragment {name} spreads itself"), "too_deep")
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    async fn code(query: impl Into<String>) -> String {
        let answer = schema().execute(Request::new(query.into())).await;
        let error = answer.errors.first().expect("it is refused");
        match &error.extensions {
            Some(more) => format!("{:?}", more.get("code")),
            None => error.message.clone(),
        }
    }

    /// `count` fragments, of which each spreads the next `times` times.
    fn chain(count: usize, times: usize) -> String {
        let link = |number: usize| {
            let spreads = format!("...F{} ", number + 1).repeat(times);
            format!("fragment F{number} on Query {{ {spreads} }} ")
        };
        let links: String = (0..count).map(link).collect();
        format!("{{ ...F0 }} {links} fragment F{count} on Query {{ __typename }}")
    }

    fn size(query: &str) -> (usize, usize) {
        let document = async_graphql::parser::parse_query(query).unwrap();
        let size = Sizes::of(&document).unwrap();
        (size.selections, size.aliases)
    }

    #[test]
    fn a_fragment_counts_wherever_it_is_spread() {
        assert_eq!(size("{ a b: c { d } ... { e } ...Lost }"), (6, 1));
        assert_eq!(size(&chain(3, 2)), (1 + 2 + 4 + 8 + 8, 0));
        assert_eq!(size("{ ...F ...F } fragment F on Query { a: b }"), (4, 2));
    }

    /// The library alone would not come back from the last ones.
    #[tokio::test]
    async fn what_spreads_out_without_end_is_refused_at_once() {
        assert!(code(chain(10, 2)).await.contains("too_complex"));
        assert!(code(chain(30, 3)).await.contains("too_complex"));
        assert!(code(chain(60, 4)).await.contains("too_complex"));
        let circle = "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }";
        assert!(code(circle).await.contains("too_deep"));
    }

    /// Neither the parser nor what comes after it runs out of stack, however deep the text is.
    #[tokio::test]
    async fn what_is_nested_without_end_is_refused() {
        let half = QUERY_BYTES_MAX / 2;
        let nested = |open: &str, count: usize, close: &str| {
            format!("{}{}", open.repeat(count), close.repeat(count))
        };
        let sets = nested("{a", half / 2, "}");
        let lists = format!("{{ a(b: {}) }}", nested("[", half - 10, "]"));
        let open = format!("{{ a(b: {}", "[".repeat(QUERY_BYTES_MAX - 10));
        let types = format!("query ($a: {}) {{ a }}", nested("[", half - 20, "]"));
        let hidden = format!("{{ a(b: {}", "[\"]\" ".repeat(half / 4));
        let behind = format!("{{ a(b: [\"\"\"x\" {} \"", "[".repeat(half));
        for query in [sets, lists, open, types, hidden, behind] {
            assert!(query.len() <= QUERY_BYTES_MAX);
            assert!(code(query).await.contains("too_deep"));
        }
    }

    #[test]
    fn brackets_count_where_they_mean_something() {
        for (text, expected) in [
            ("", 0),
            ("{ a { b } c { d } }", 2),
            ("{ a(b: [1, [2]]) }", 4),
            ("}}} { a }", 1),
            ("{ a(b: \"[[[\") }", 2),
            ("{ a(b: \"]]]\", c: [1]) }", 3),
            (r#"{ a(b: "\"[[[") }"#, 2),
            (r#"{ a(b: "\\", c: [1]) }"#, 3),
            ("{ a(b: \"\", c: [1]) }", 3),
            (
                "{ a(b: \"\"\" \"[[ ' \\\"\"\" [[ \n [[ \"\"\", c: [1]) }",
                3,
            ),
            ("{ # [[[ \" \n a(b: [1]) }", 3),
            ("{ a(b: \"no end\n [[", 4),
            ("{ a(b: \"\"\"no end\n [[", 4),
            ("{ a(b: \"\"\"no end\" [[ \"", 4),
            ("{ ä(b: \"ß\") }", 2),
        ] {
            assert_eq!(nesting(text), expected, "{text}");
        }
    }
}
