//! What a call needs of a token that is good for some calls alone (`scope`, RFC 9068 §2.2.3).

use axum::http::Method;

/// The scope of a call: the resource that its path begins with, and whether the call changes something
/// of it, as in `orders:read`. What is asked in GraphQL changes nothing, however it is sent.
pub(crate) fn needed(method: &Method, path: &str) -> String {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let resource = path.split('/').nth(1).unwrap_or_default();
    let reads = method.is_safe() || resource == "graphql";
    format!("{resource}:{}", if reads { "read" } else { "write" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_what_is_done_with_what() {
        for (method, path, scope) in [
            (Method::GET, "/v1/orders", "orders:read"),
            (Method::HEAD, "/v1/orders/7/events", "orders:read"),
            (Method::POST, "/v1/orders/7/returns", "orders:write"),
            (Method::POST, "/graphql", "graphql:read"),
        ] {
            assert_eq!(needed(&method, path), scope);
        }
    }
}
