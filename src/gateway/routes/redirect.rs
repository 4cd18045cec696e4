//! From the `redirect_*` keywords of a `route` section to a [`Redirect`].

use super::model::{Redirect, RedirectCode, RedirectPath};
use super::texts;
use crate::inventory::Problem;
use crate::inventory::keywords::Keywords;

/// Reads the redirect of a route; `None` where the section is not of one.
///
/// The agent reports the two booleans of every route, so a false one makes no redirect.
///
/// # Errors
/// The first keyword that cannot be taken.
pub(super) fn redirect(keywords: &Keywords<'_>) -> Result<Option<Redirect>, Problem> {
    let host = texts::host(keywords, "redirect_host_redirect")?;
    let whole = texts::path(keywords, "redirect_path_redirect")?.map(RedirectPath::Whole);
    let prefix = texts::path(keywords, "redirect_prefix_rewrite")?.map(RedirectPath::Prefix);
    if whole.is_some() && prefix.is_some() {
        let reason = "has both redirect_path_redirect and redirect_prefix_rewrite";
        return Err(keywords.problem("", reason));
    }
    let path = whole.or(prefix);
    let code = code(keywords)?;
    let flag = |keyword| Ok(keywords.boolean(keyword)?.unwrap_or_default());
    let https = flag("redirect_https_redirect")?;
    let strip_query = flag("redirect_strip_query")?;
    let is_set = host.is_some() || path.is_some() || code.is_some() || https || strip_query;
    Ok(is_set.then(|| Redirect {
        host,
        path,
        code: code.unwrap_or_default(),
        https,
        strip_query,
    }))
}

fn code(keywords: &Keywords<'_>) -> Result<Option<RedirectCode>, Problem> {
    let Some(text) = texts::line(keywords, "redirect_response_code")? else {
        return Ok(None);
    };
    let word = text.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    let code = match word.as_str() {
        "301" | "moved_permanently" => RedirectCode::MovedPermanently,
        "302" | "found" => RedirectCode::Found,
        "303" | "see_other" => RedirectCode::SeeOther,
        "307" | "temporary_redirect" => RedirectCode::TemporaryRedirect,
        "308" | "permanent_redirect" => RedirectCode::PermanentRedirect,
        _ => {
            let wrong = "is none of 301, 302, 303, 307, 308 or their names";
            let reason = texts::shown(&text, wrong);
            return Err(keywords.problem("redirect_response_code", reason));
        }
    };
    Ok(Some(code))
}
