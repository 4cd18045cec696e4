//! PURE: the status of a controller as one screen of text, what is wrong first. Where it comes from
//! is no concern of this file.

use std::fmt::Write;
use std::time::Duration;

use prost_types::Timestamp;

use crate::pb;

/// The screen, at `now` since 1970. What came from elsewhere is escaped: it cannot move a cursor.
pub fn screen(status: &pb::Status, now: Duration) -> String {
    let mut text = String::new();
    head(&mut text, status, now);
    problems(&mut text, status);
    clients(&mut text, status, now);
    held(&mut text, status, now);
    writes(&mut text, status);
    certificates(&mut text, status, now);
    listeners(&mut text, status);
    text
}

fn head(text: &mut String, status: &pb::Status, now: Duration) {
    let state = match (status.ready, status.stale) {
        (_, true) => "serves what an earlier process saved",
        (true, _) => "ready",
        (false, _) => "nothing is published yet",
    };
    let (gateway, version) = (plain(&status.gateway), plain(&status.version));
    line(
        text,
        &format!("gateway  {gateway}: {state} (osvc-igw {version})"),
    );
    let daemon = status.daemon.clone().unwrap_or_default();
    let account = daemon.account.as_deref().map(plain);
    let account = account
        .map(|name| format!(" as {name}"))
        .unwrap_or_default();
    let place = match daemon.place.as_str() {
        "" => String::new(),
        place => format!(" at {}", plain(place)),
    };
    let state = match (daemon.connected, &daemon.failure) {
        (true, _) => format!("followed{place}{account}"),
        (false, None) => "not followed".to_owned(),
        (false, Some(failure)) => format!("not followed: {}", plain(failure)),
    };
    let (syncs, corrections) = (daemon.syncs, daemon.corrections);
    let last = daemon.last_event.as_ref().and_then(|at| ago(at, now));
    let last = last.map_or_else(String::new, |ago| format!(", last event {ago} ago"));
    line(
        text,
        &format!("daemon   {state} ({syncs} full statuses, {corrections} corrections{last})"),
    );
    for lack in &daemon.lacks {
        line(text, &format!("         {}", plain(lack)));
    }
    let served = status.resources.iter();
    let served: Vec<String> = served
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    line(text, &format!("serves   {}", served.join(", ")));
}

fn problems(text: &mut String, status: &pb::Status) {
    title(text, "problems", status.problems.len());
    for problem in &status.problems {
        let place = match (problem.section.as_str(), problem.keyword.as_str()) {
            ("", "") => String::new(),
            (section, "") => format!(" {}", plain(section)),
            (section, keyword) => format!(" {}.{}", plain(section), plain(keyword)),
        };
        let object = plain(&problem.object);
        line(
            text,
            &format!("  {object}{place}: {}", plain(&problem.reason)),
        );
    }
}

fn clients(text: &mut String, status: &pb::Status, now: Duration) {
    title(text, "envoys", status.clients.len());
    for client in &status.clients {
        let state = match (client.blocked, client.synced, client.unsynced) {
            (true, ..) => "does not read what it is sent".to_owned(),
            (_, true, _) => "has everything".to_owned(),
            (_, _, 0) => "is being told".to_owned(),
            (_, _, count) => format!("lacks {count}"),
        };
        let only = match client.only.as_str() {
            "" => String::new(),
            kind => format!(", {} alone", plain(kind)),
        };
        let (node, agent) = (plain(&client.node), plain(&client.agent));
        line(text, &format!("  {node} ({agent}{only}): {state}"));
        for resource in &client.resources {
            line(text, &format!("    {}", of_resource(resource, now)));
        }
    }
}

fn of_resource(resource: &pb::Resource, now: Duration) -> String {
    let since = resource.since.as_ref().and_then(|at| ago(at, now));
    let since = since.map(|ago| format!(" for {ago}")).unwrap_or_default();
    let reason = plain(&resource.reason);
    let state = match resource.state() {
        pb::ResourceState::Synced => "is as it should be".to_owned(),
        pb::ResourceState::Stale => "was sent and is not answered".to_owned(),
        pb::ResourceState::DoesNotExist => "is asked for and does not exist".to_owned(),
        pb::ResourceState::Error => format!("refused{since}: {reason}"),
        _ if reason.is_empty() => format!("waits{since}"),
        _ => format!("waits{since}: {reason}"),
    };
    let origin = origins(&resource.origins);
    format!(
        "{} {} {state}{origin}",
        plain(&resource.r#type),
        plain(&resource.name)
    )
}

fn held(text: &mut String, status: &pb::Status, now: Duration) {
    title(text, "held instances", status.held.len());
    for held in &status.held {
        let until = held.until.as_ref().and_then(|at| left(at, now));
        let until = until
            .map(|left| format!(", {left} more"))
            .unwrap_or_default();
        let (object, node, reason) = (plain(&held.object), plain(&held.node), plain(&held.reason));
        line(text, &format!("  {object} on {node}: {reason}{until}"));
    }
}

fn writes(text: &mut String, status: &pb::Status) {
    title(text, "writes", status.writes.len());
    for waiting in &status.writes {
        let write = waiting.write.clone().unwrap_or_default();
        let what = match write.change.as_str() {
            "key" => format!("key {}", plain(&write.key)),
            "create" => "created".to_owned(),
            _ => format!(
                "{}.{}={}",
                plain(&write.section),
                plain(&write.keyword),
                plain(&write.value)
            ),
        };
        let state = match (&waiting.failure, waiting.taken) {
            (Some(failure), _) => format!("failed: {}", plain(failure)),
            (None, true) => "taken and not shown yet".to_owned(),
            (None, false) => "waits".to_owned(),
        };
        line(text, &format!("  {} {what}: {state}", plain(&write.object)));
    }
}

fn certificates(text: &mut String, status: &pb::Status, now: Duration) {
    title(text, "certificates", status.certificates.len());
    let mut all: Vec<&pb::Certificate> = status.certificates.iter().collect();
    let expiry = |one: &&pb::Certificate| one.not_after.as_ref().map(|at| at.seconds);
    all.sort_by_key(|one| (expiry(one), one.object.clone()));
    for certificate in all {
        let object = plain(&certificate.object);
        let state = match &certificate.not_after {
            None => "none is served".to_owned(),
            Some(at) => left(at, now).map_or_else(
                || "has expired".to_owned(),
                |left| format!("good for {left}"),
            ),
        };
        let flaw = certificate.flaw.as_deref().map(plain);
        let flaw = flaw
            .map(|flaw| format!("; the object {flaw}"))
            .unwrap_or_default();
        line(text, &format!("  {object}: {state}{flaw}"));
    }
}

fn listeners(text: &mut String, status: &pb::Status) {
    title(text, "listeners", status.listeners.len());
    for listener in &status.listeners {
        let origin = origins(&listener.origins);
        line(text, &format!("  {}{origin}", plain(&listener.name)));
    }
}

/// The objects that something was made from, the first few.
fn origins(origins: &[pb::Origin]) -> String {
    let mut shown: Vec<String> = origins.iter().take(ORIGINS_MAX).map(of_origin).collect();
    let more = origins.len().saturating_sub(ORIGINS_MAX);
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    match shown.is_empty() {
        true => String::new(),
        false => format!("  [{}]", shown.join(", ")),
    }
}

fn of_origin(origin: &pb::Origin) -> String {
    let object = plain(&origin.object);
    match origin.section.as_str() {
        "" => object,
        section => format!("{object} {}", plain(section)),
    }
}

/// Sections that have nothing to say are left out.
fn title(text: &mut String, title: &str, count: usize) {
    if count > 0 {
        line(text, "");
        line(text, &format!("{title} ({count})"));
    }
}

fn line(text: &mut String, content: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}

/// Envoy's words and an operator's may hold anything.
fn plain(text: &str) -> String {
    let escape = |c: char| match c {
        '\n' | '\t' => " ".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn ago(at: &Timestamp, now: Duration) -> Option<String> {
    let at = u64::try_from(at.seconds).ok()?;
    let ago = now.as_secs().checked_sub(at)?;
    Some(short(ago))
}

/// `None` where it is over.
fn left(at: &Timestamp, now: Duration) -> Option<String> {
    let at = u64::try_from(at.seconds).ok()?;
    let left = at.checked_sub(now.as_secs()).filter(|left| *left > 0)?;
    Some(short(left))
}

/// In the largest unit that says enough.
fn short(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A listener may be made from a thousand services.
const ORIGINS_MAX: usize = 3;

#[cfg(test)]
mod tests;
