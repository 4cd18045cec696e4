//! The page in the text format of before OpenMetrics (0.0.4), for who does not ask for the newer
//! one: `curl` with `promtool check metrics`, and old scrapers.

use std::collections::BTreeSet;

/// A page of OpenMetrics in the older format: there a counter is named with its suffix throughout,
/// and units and the end are not told.
pub fn classic(page: &str) -> String {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let counters = types.filter_map(|rest| rest.strip_suffix(" counter"));
    let counters: BTreeSet<&str> = counters.collect();
    let lines = page.lines().filter_map(|line| {
        let Some(comment) = line.strip_prefix("# ") else {
            return Some(format!("{line}\n"));
        };
        let mut words = comment.splitn(3, ' ');
        let what = words
            .next()
            .filter(|what| ["HELP", "TYPE"].contains(what))?;
        let (name, rest) = (words.next()?, words.next()?);
        let suffix = if counters.contains(name) {
            "_total"
        } else {
            ""
        };
        Some(format!("# {what} {name}{suffix} {rest}\n"))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn a_counter_is_named_with_its_suffix_and_nothing_else_changes() {
        let page = "# HELP a_b What is counted.\n# TYPE a_b counter\na_b_total{x=\"# y\"} 1\n\
                    # HELP c_seconds How long.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\n\
                    c_seconds 2\n# EOF\n";
        let expected = "# HELP a_b_total What is counted.\n# TYPE a_b_total counter\n\
                        a_b_total{x=\"# y\"} 1\n# HELP c_seconds How long.\n\
                        # TYPE c_seconds gauge\nc_seconds 2\n";
        assert_eq!(classic(page), expected);
    }
}
