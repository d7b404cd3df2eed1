//! How much one operation may ask for.

use std::sync::Arc;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextParseQuery, NextValidation,
};
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};
use async_graphql::{ErrorExtensionValues, ServerError, ServerResult, ValidationResult, Variables};
use edge::Problem;

use crate::failure::parameter;

/// Most levels below an operation: what the usual introspection of a whole schema needs.
pub(super) const DEPTH_MAX: usize = 15;

/// Most fields of one answer, where each field of a list counts as often as the list may be long.
pub(super) const COMPLEXITY_MAX: usize = 2_000;

/// Most fields under another name.
pub(super) const ALIASES_MAX: usize = 20;

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
    async fn parse_query(
        &self,
        ctx: &ExtensionContext<'_>,
        query: &str,
        variables: &Variables,
        next: NextParseQuery<'_>,
    ) -> ServerResult<ExecutableDocument> {
        let document = next.run(ctx, query, variables).await?;
        let operations = document.operations.iter();
        let fragments = document.fragments.values();
        let sets = operations.map(|(_, operation)| &operation.node.selection_set.node);
        let sets = sets.chain(fragments.map(|fragment| &fragment.node.selection_set.node));
        let count = sets.map(aliases).sum();
        within("aliases", "too_many_aliases", count, ALIASES_MAX)?;
        Ok(document)
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
    let mut error = ServerError::new(message, None);
    let mut more = ErrorExtensionValues::default();
    more.set("code", code);
    error.extensions = Some(more);
    Err(error)
}

/// How many fields stand under another name, at any depth.
fn aliases(set: &SelectionSet) -> usize {
    let each = set.items.iter().map(|item| match &item.node {
        Selection::Field(field) => {
            let below = aliases(&field.node.selection_set.node);
            below.saturating_add(usize::from(field.node.alias.is_some()))
        }
        Selection::InlineFragment(inline) => aliases(&inline.node.selection_set.node),
        Selection::FragmentSpread(_) => 0,
    });
    each.sum()
}
