//! The table: what was measured, beside what it should be and what a bare server takes. Text and
//! JSON are the same figures. Nothing is measured here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::options::Options;
use super::stats::exponent;

/// The figures of one size.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) services: usize,
    pub(super) gateways: usize,
    /// Clients of a crowd, and those that come back.
    clients: [usize; 2],
    /// By name.
    values: BTreeMap<&'static str, f64>,
    /// What a bare server took, by name.
    floors: BTreeMap<&'static str, f64>,
    /// What is wrong, beside which no figure counts.
    pub(super) failures: Vec<String>,
}

/// A figure that the table shows.
struct Column {
    name: &'static str,
    shown: &'static str,
    unit: &'static str,
    /// At most this, at 1,000 and at 10,000 services.
    targets: Option<(f64, f64)>,
    /// Whether it grows with the cluster: then it has an exponent.
    grows: bool,
}

impl Figures {
    pub(super) fn new(options: &Options, services: usize) -> Self {
        Self {
            services,
            gateways: options.gateways,
            clients: [options.clients, options.returning],
            ..Self::default()
        }
    }

    pub(super) fn set(&mut self, name: &'static str, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into() {
            self.values.insert(name, value);
        }
    }

    pub(super) fn set_floor(&mut self, name: &'static str, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into() {
            self.floors.insert(name, value);
        }
    }

    /// Notes that something is wrong unless it `holds`.
    pub(super) fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.failures.push(what());
        }
    }

    fn target(&self, column: &Column) -> Option<f64> {
        let (thousand, ten_thousand) = column.targets?;
        match self.services {
            1_000 => Some(thousand),
            10_000 => Some(ten_thousand),
            _ => None,
        }
    }

    /// The table as text, in Markdown.
    pub(super) fn text(&self) -> String {
        let by = match self.gateways {
            1 => String::new(),
            more => format!(", {more} gateways"),
        };
        let [crowd, returning] = self.clients.map(grouped);
        let mut text = format!(
            "\n{} services, {} instances{by}; {crowd} clients in a crowd, {returning} that come \
             back\n\n\
             | what | target | measured | floor |\n| :--- | ---: | ---: | ---: |\n",
            grouped(self.services),
            grouped(self.services * 4)
        );
        for column in COLUMNS {
            let Some(value) = self.values.get(column.name) else {
                continue;
            };
            let target = self.target(column);
            let missed = target.is_some_and(|target| *value > target);
            let target = target.map_or_else(String::new, |target| format!("≤ {}", shown(target)));
            let floor = self.floors.get(column.name).copied().map(shown);
            let mark = if missed { " ✗" } else { "" };
            text.push_str(&format!(
                "| {}, {} | {target} | {}{mark} | {} |\n",
                column.shown,
                column.unit,
                shown(*value),
                floor.unwrap_or_default()
            ));
        }
        for failure in &self.failures {
            text.push_str(&format!("WRONG: {failure}\n"));
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let figures = COLUMNS.iter().filter_map(|column| {
            let value = self.values.get(column.name)?;
            let figure = json!({
                "measured": value, "unit": column.unit, "target": self.target(column),
                "floor": self.floors.get(column.name),
            });
            Some((column.name.to_owned(), figure))
        });
        json!({
            "services": self.services, "gateways": self.gateways, "failures": self.failures,
            "figures": figures.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// How each cost grows over these sizes, in Markdown.
pub(super) fn growth(all: &[Figures]) -> String {
    let mut text = "\n| what |".to_owned();
    for figures in all {
        text.push_str(&format!(" {} |", grouped(figures.services)));
    }
    text.push_str(" exponent |\n| :--- |");
    text.push_str(&" ---: |".repeat(all.len() + 1));
    for column in COLUMNS.iter().filter(|column| column.grows) {
        let values = all.iter().map(|figures| figures.values.get(column.name));
        let values: Vec<Option<f64>> = values.map(Option::<&f64>::copied).collect();
        if values.iter().all(Option::is_none) {
            continue;
        }
        text.push_str(&format!("\n| {}, {} |", column.shown, column.unit));
        for value in &values {
            let value = value.map_or_else(|| "—".to_owned(), shown);
            text.push_str(&format!(" {value} |"));
        }
        let sizes = all.iter().map(|figures| figures.services as f64);
        let points: Vec<_> = sizes
            .zip(&values)
            .filter_map(|(size, value)| Some((size, (*value)?)))
            .collect();
        let exponent = exponent(&points);
        let exponent = exponent.map_or_else(|| "—".to_owned(), |it| format!("{it:.2}"));
        text.push_str(&format!(" {exponent} |"));
    }
    text.push('\n');
    text
}

/// Three digits that count.
pub(super) fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        below if below < 10.0 => format!("{value:.2}"),
        below if below < 100.0 => format!("{value:.1}"),
        _ => grouped(value.round() as usize),
    }
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const fn column(
    name: &'static str,
    shown: &'static str,
    unit: &'static str,
    targets: Option<(f64, f64)>,
) -> Column {
    Column {
        name,
        shown,
        unit,
        targets,
        grows: true,
    }
}

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    column("event_p50", "event on the socket → response on the wire, p50", "ms", Some((1.0, 1.5))),
    column("event_p99", "the same, p99", "ms", Some((3.0, 5.0))),
    column("event_max", "the same, the worst", "ms", None),
    column("waited_p50", "change → event on the socket (the daemon's own wait), p50", "ms", None),
    column("event_bytes", "pushed for one changed address", "bytes", Some((300.0, 300.0))),
    column("event_cpu", "CPU a changed address", "ms", Some((0.5, 1.0))),
    column("sync", "first full status read → served to the last ACK", "s", Some((0.2, 1.5))),
    column("start", "process started → served to the last ACK", "s", None),
    column("sync_bytes", "pushed in it", "kB", None),
    column("sync_cpu", "CPU of it", "s", None),
    column("status_bytes", "the full status", "kB", None),
    column("resident", "resident memory after full sync", "MB", Some((40.0, 150.0))),
    column("highest", "the most before", "MB", None),
    column("load_rate", "load: events a second", "", None),
    column("load_lag", "load: events behind at its end", "", Some((0.0, 0.0))),
    column("load_p99", "load: event → response, p99", "ms", Some((20.0, 30.0))),
    column("load_p50", "load: the same, p50", "ms", None),
    column("load_cpu", "load: CPU an event", "ms", None),
    column("load_resident", "load: resident memory behind it", "MB", None),
    column("crowd", "all of a crowd have one changed address", "ms", Some((50.0, 60.0))),
    column("crowd_max", "the same, the worst", "ms", None),
    column("crowd_resident", "resident memory with them", "MB", None),
    column("resent", "those that come back: resources resent", "", Some((0.0, 0.0))),
    column("reconnect", "those that come back: all have the next change", "s", Some((1.0, 4.0))),
    column("sim_change", "the simulated daemon's own time a change, p50", "ms", None),
];
