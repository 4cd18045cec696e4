//! The part of the intermediate representation that says where requests go: plain ordered data
//! in Envoy's nouns. How it is read from keywords is in the files beside this one.

use std::collections::BTreeSet;

use serde::Serialize;

/// Where the requests of one match go. What few routes have is in a place of its own: there are
/// thousands of them.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Route {
    /// The section it was made from; empty for the default route.
    pub section: String,
    /// The requests that it takes, by their path.
    pub path: PathMatch,
    /// Whether letter case counts in the match.
    pub case_sensitive: bool,
    /// What else a request must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Box<Conditions>>,
    /// What is done with them.
    pub action: RouteAction,
    /// What becomes of the headers of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<Box<HeaderEdits>>,
    /// What becomes of the headers of answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<Box<HeaderEdits>>,
    /// How many requests each Envoy lets through; the others are answered 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// What scripts of other origins may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Box<Cors>>,
    /// What answers may be compressed with, where the client says that it takes it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub compression: BTreeSet<Encoding>,
}

impl Route {
    /// The route of everything to one cluster.
    pub fn default_to(cluster: String) -> Self {
        Self {
            section: String::new(),
            path: PathMatch::Prefix("/".to_owned()),
            case_sensitive: true,
            conditions: None,
            action: RouteAction::Forward(Box::new(Forward::to_cluster(cluster))),
            request_headers: None,
            response_headers: None,
            rate_limit: None,
            cors: None,
            compression: BTreeSet::new(),
        }
    }

    /// The clusters that it names.
    pub fn clusters(&self) -> Vec<&String> {
        let RouteAction::Forward(forward) = &self.action else {
            return Vec::new();
        };
        let mut clusters = match &forward.to {
            Target::Cluster(cluster) => vec![cluster],
            Target::ClusterHeader { .. } => Vec::new(),
            Target::Weighted(parts) => parts.iter().map(|part| &part.cluster).collect(),
        };
        clusters.extend(forward.mirror.as_ref().map(|mirror| &mirror.cluster));
        clusters
    }
}

/// What a request must have beside its path (config.route.v3.RouteMatch). All of it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct Conditions {
    /// Headers.
    pub headers: Vec<NamedMatch>,
    /// Parameters of the query.
    pub query: Vec<NamedMatch>,
    /// One of these methods; any where it is empty.
    pub methods: Vec<String>,
}

impl Conditions {
    /// No more than the path.
    pub const NONE: &Self = &Self {
        headers: Vec::new(),
        query: Vec::new(),
        methods: Vec::new(),
    };
}

/// A header or a parameter that has to be there.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct NamedMatch {
    /// Its name.
    pub name: String,
    /// Its whole value; any where absent.
    pub value: Option<String>,
}

/// What becomes of headers.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct HeaderEdits {
    /// Headers and their values, in the place of what was there.
    pub set: Vec<(String, String)>,
    /// Headers that are taken away.
    pub remove: Vec<String>,
}

impl HeaderEdits {
    /// Nothing becomes of them.
    pub const NONE: &Self = &Self {
        set: Vec::new(),
        remove: Vec::new(),
    };
}

/// How many requests are let through (extensions.filters.http.local_ratelimit.v3).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct RateLimit {
    /// This many
    pub requests: u32,
    /// in each of so many seconds.
    pub per_s: u32,
}

/// What scripts of other origins may do (extensions.filters.http.cors.v3.CorsPolicy).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq, Serialize)]
pub struct Cors {
    /// The origins; `*` is any, and a leading `*` stands for any beginning.
    pub allow_origins: Vec<String>,
    /// The methods.
    pub allow_methods: Vec<String>,
    /// The request headers.
    pub allow_headers: Vec<String>,
    /// The answer headers that scripts may see.
    pub expose_headers: Vec<String>,
    /// How long a browser may remember this.
    pub max_age_s: Option<u32>,
    /// Whether with cookies.
    pub allow_credentials: Option<bool>,
}

/// What an answer can be compressed with (extensions.filters.http.compressor.v3).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// `br` in HTTP.
    Brotli,
    /// `gzip` in HTTP.
    Gzip,
    /// `zstd` in HTTP.
    Zstd,
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
    Redirect(Box<Redirect>),
    /// Envoy answers this text, 200.
    Answer(String),
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
    /// When a request is tried again. Absent: as the virtual host has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Box<Retry>>,
    /// Who is sent copies of the requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Box<Mirror>>,
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
            retry: None,
            mirror: None,
        }
    }
}

/// Which cluster answers the requests of a route.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Always this one.
    Cluster(String),
    /// The one that a request header names.
    ClusterHeader {
        /// The header.
        header: String,
        /// The namespace of the objects whose clusters it may name, `None` for the root namespace;
        /// a request that names another is none of the route's.
        namespace: Option<String>,
    },
    /// Each of these in proportion to its weight; the weights are not all zero.
    Weighted(Vec<WeightedCluster>),
}

/// One of the clusters that share the requests of a route.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct WeightedCluster {
    /// Its name.
    pub cluster: String,
    /// Its share, of the sum of all.
    pub weight: u32,
}

/// When a request is tried again (config.route.v3.RetryPolicy). What is absent is as in the
/// virtual host's policy.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Retry {
    /// How often after the first time.
    pub count: Option<u32>,
    /// Envoy's words for what is tried again.
    pub on: Vec<String>,
    /// The statuses that are tried again.
    pub codes: Vec<u32>,
    /// How long each try may take.
    pub per_try_timeout_ms: Option<u32>,
}

/// Who is sent copies of requests (config.route.v3.RouteAction.RequestMirrorPolicy).
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct Mirror {
    /// The cluster; what it answers is thrown away.
    pub cluster: String,
    /// Of how many requests in a hundred.
    pub percent: u32,
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
