//! Queries and the filters in them, and moments: what can be read is read again as the same once it is written.

use skep_api::filters::Filters;
use skep_api::query::Query;
use skep_api::wire::time;
use skep_core::model::Labels;

use super::choose;

/// Reads a query, filters or a moment.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = choose(data, 3) else { return };
    let text = String::from_utf8_lossy(rest);
    match choice {
        0 => filters(&text),
        1 => query(&text),
        _ => moment(&text),
    }
}

fn filters(text: &str) {
    let filters = match Filters::parse(text) {
        Ok(filters) => filters,
        Err(error) => {
            assert_eq!(error.status.as_u16(), 400, "{error:?}");
            return;
        }
    };
    assert_eq!(Filters::parse(&filters.to_text()), Ok(filters.clone()));
    let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
    for key in ["id", "name", "label", ""] {
        filters.labels(key, &labels);
        filters.prefix(key, "abc");
        assert!(
            filters.contains(key) || filters.exact(key, "abc"),
            "an absent key keeps things out"
        );
    }
    let _ = filters.only(&["id", "name", "label"]);
}

fn query(text: &str) {
    let query = Query::parse(text);
    assert_eq!(Query::parse(&query.to_text()), query, "{query:?}");
    for name in ["version", "force", "filters", ""] {
        query.truthy(name);
        let _ = query.strict_bool(name);
        let _ = query.version("service");
        assert!(query.contains(name) || query.get(name).is_empty());
    }
    filters(query.get("filters"));
}

fn moment(text: &str) {
    let _ = time::parse_moment(text);
    if let Some(at) = time::parse_rfc3339(text) {
        assert_eq!(time::parse_rfc3339(&time::format_nanos(at)), Some(at), "{text:?}");
        time::format(at);
    }
}
