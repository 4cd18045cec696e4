//! The part of the intermediate representation that says where requests go: plain ordered data
//! in Envoy's nouns. How it is read from keywords is in the files beside this one.

use serde::Serialize;

/// Where the requests of one match go.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Route {
    /// The section it was made from; empty for the default route.
    pub section: String,
    /// The requests that it takes, by their path.
    pub path: PathMatch,
    /// Whether letter case counts in the match.
    pub case_sensitive: bool,
    /// What is done with them.
    pub action: RouteAction,
}

impl Route {
    /// The clusters that it names.
    pub fn clusters(&self) -> Vec<&String> {
        match &self.action {
            RouteAction::Redirect(_) => Vec::new(),
            RouteAction::Forward(forward) => match &forward.to {
                Target::Cluster(cluster) => vec![cluster],
                Target::ClusterHeader(_) => Vec::new(),
            },
        }
    }
}

/// The request paths that a route takes.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// The whole path, without the query.
    Path(String),
    /// The beginning of the path.
    Prefix(String),
    /// An RE2 expression for the whole path, without the query.
    Regex(String),
}

/// What is done with the requests of a route.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    /// An instance answers them.
    Forward(Box<Forward>),
    /// The client is sent elsewhere.
    Redirect(Redirect),
}

/// How requests reach an instance (config.route.v3.RouteAction).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Forward {
    /// Which cluster answers.
    pub to: Target,
    /// What the matched part of the path becomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_rewrite: Option<String>,
    /// What the host becomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_rewrite: Option<String>,
    /// How long an answer may take, retries included; 0 for ever. Absent: Envoy's 15 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
    /// Whether websocket upgrades pass. Absent: as the listener has it, which is yes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket: Option<bool>,
    /// What hashing load balancers hash, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hash_policies: Vec<HashPolicy>,
}

impl Forward {
    /// To that cluster, with nothing changed on the way.
    pub fn to_cluster(cluster: String) -> Self {
        Self {
            to: Target::Cluster(cluster),
            prefix_rewrite: None,
            host_rewrite: None,
            timeout_ms: None,
            websocket: None,
            hash_policies: Vec::new(),
        }
    }
}

/// Which cluster answers the requests of a route.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Always this one.
    Cluster(String),
    /// The one that this request header names.
    ClusterHeader(String),
}

/// One thing to hash (config.route.v3.RouteAction.HashPolicy).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct HashPolicy {
    /// What is hashed.
    pub key: HashKey,
    /// Whether the policies after this one are skipped where it gave a hash.
    pub terminal: bool,
}

/// What of a request is hashed.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// A cookie.
    Cookie {
        /// Its name.
        name: String,
        /// The path it is made for.
        path: Option<String>,
        /// How long a cookie lives that Envoy makes for a client without one; 0 for as long as
        /// the browser runs. Absent: none is made.
        ttl_s: Option<u32>,
    },
    /// A request header.
    Header(String),
    /// The client's address.
    SourceIp,
}

/// Where a client is sent (config.route.v3.RedirectAction).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct Redirect {
    /// Another host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<RedirectPath>,
    /// The status that says so.
    pub code: RedirectCode,
    /// Whether to `https`.
    pub https: bool,
    /// Whether without the query.
    pub strip_query: bool,
}

/// The path that a client is sent to.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectPath {
    /// This one.
    Whole(String),
    /// Its own, with this in the place of the matched part.
    Prefix(String),
}

/// The status of a redirect (config.route.v3.RedirectAction.RedirectResponseCode).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RedirectCode {
    /// 301.
    #[default]
    MovedPermanently,
    /// 302.
    Found,
    /// 303.
    SeeOther,
    /// 307.
    TemporaryRedirect,
    /// 308.
    PermanentRedirect,
}
