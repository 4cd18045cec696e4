//! osvc-igw: the ingress gateway controller of OpenSVC clusters. It follows the OpenSVC daemon,
//! works out what the services expose, and serves it to Envoy over delta xDS.
//!
//! # The way of the data
//!
//! ```text
//!  OpenSVC daemon                                                          Envoy × N
//!   │ full status, patches                                                  ▲  │ ACK / NACK
//!   ▼                                                              delta ADS │  ▼
//!  opensvc ─Event─▶ inventory ─compile─▶ gateway ─encode─▶ Snapshot ─▶ xds::session × N
//!   ▲               what is              what should be     resources    what each client has
//!   └─ reads that compile wants, and writes: the ports that it chose
//! ```
//!
//! Read from left to right it is the program; nothing imports what stands to its right.
//!
//! | step | where | pure |
//! |---|---|---|
//! | bytes to [`inventory::Event`] | [`opensvc::Daemon::watch`] | edge |
//! | event to inventory | [`inventory::Inventory::apply`] | yes |
//! | inventory to gateway, problems and wants | [`gateway::compile`](fn@gateway::compile) | yes |
//! | gateway to snapshot | [`xds::encode`](fn@xds::encode) | yes |
//! | snapshot and requests to responses | [`xds::session::Session`] | yes |
//! | responses to bytes | [`ads`] | edge |
//! | snapshot and snapshot to what differs, and what that does to traffic | [`xds::diff`] | yes |
//! | what is known, to who asks | [`status`], by [`grpc`], [`admin`] and `page` | edge |
//!
//! [`controller`] is the one loop that owns the inventory; [`run`](mod@run) builds the parts and
//! ends them together; [`start`] turns a command into running parts. [`sim`] is the other side,
//! for tests and for [`demo`]: it imports nothing from this crate.
//!
//! The commands that only look are beside it: [`compare`] (`diff`) sets two states side by side,
//! [`dry_run`] follows the cluster and prints what it would push, [`check`] compiles files that no
//! cluster has yet, [`ask`] shows what a running controller knows.
//!
//! [`cert`] is the side flow, often a process of its own: it reads what `sec` objects ask for,
//! plans by the clock, asks an authority, and writes to OpenSVC. A challenge that it writes comes
//! back to every gateway as an event, and becomes a route or a filter chain like any other.
//!
//! # Invariants
//!
//! * Data flows one way; a later step never calls an earlier one.
//! * The core cannot fail: it returns a value and [`inventory::Problem`]s. One bad service costs
//!   only itself.
//! * Nothing is published before the first full status, and the first snapshot waits for what
//!   has to be read: a restarted controller must not take away what it has not heard of yet.
//! * An event stream takes over from the one before with its full status: nothing falls between
//!   the two, and what was served stays until then.
//! * A daemon that starts reports its instances bit by bit; what it has not told yet is held. So
//!   are the instances of a node that is lost, for a while: not to hear of them is no proof.
//! * Equal gateways give equal [`xds::Version`]s in any process. A restart costs Envoy nothing.
//! * One response is in flight per client and type, of clusters a few, as Envoy acknowledges those
//!   late; every queue has a bound.
//! * A snapshot that was saved and read back is partial: by it nothing goes.
//! * What Envoy would refuse by the rules of its API is found first: it would refuse the whole
//!   response and not say why. It costs the one it was made for.
//! * Make before break: what is named comes first and goes last.
//! * Of a refused response each resource is sent again alone, and the one that is refused alone
//!   is tried again with backoff. The others are not held up.
//! * A certificate goes out with its own key or not at all; what was good last stays meanwhile.
//! * All that the daemon is asked to change goes through one queue ([`controller::WriteQueue`]):
//!   one write at a time, as the daemon loses some of several, each until it is done or unwanted.
//! * A secret is in two places: the body of an SDS resource and [`inventory::Sensitive`].
//! * The certificate operator's only output is what it writes to OpenSVC and, where an issuer says
//!   how, the records of a challenge in the DNS. Each step is kept in OpenSVC before the next:
//!   whoever comes after a crash goes on with the same order.
//! * If a part ends, the process ends, saying why.
//!
//! # What happens when …
//!
//! **an address changes.** The daemon sends a patch; [`opensvc::mirror`] applies it to its tree
//! and projects the one object that it touched to an [`inventory::Event::Put`]. The controller
//! compiles at once, and as nothing of the object but its addresses is other, only its endpoints
//! ([`gateway::Incremental`]). They have another [`xds::Version`]; everything else is shared with
//! the snapshot before. Each session finds one name changed and sends one resource, before
//! anything of it is logged or shown.
//!
//! **a key of a secret changes.** The daemon only says that the object's checksum changed, so
//! compile *wants* the secret at its new revision and goes on with the old content. The
//! controller reads it; the next snapshot has one changed SDS resource and untouched listeners.
//!
//! **Envoy refuses.** It does not say what it applied, so every name of the response becomes a
//! suspect: it counts as held in no version, and goes out alone under a version never used
//! before. The one that is refused alone is named in the log with the section it was made from.
//!
//! **a client has no aggregated stream.** Each of its streams is a session of one type, and what
//! it is sent names such streams ([`xds::sources`]). Where it speaks the state-of-the-world
//! variant, [`xds::whole`] makes whole states of what the session sends.

pub mod acme;
pub mod admin;
pub mod ads;
mod aside;
pub mod ask;
pub mod backoff;
pub mod bootstrap;
mod budget;
mod causes;
pub mod cert;
pub mod check;
pub mod clock;
pub mod compare;
pub mod config;
pub mod controller;
pub mod demo;
mod desired;
pub mod differences;
pub mod dry_run;
pub mod envoy;
pub mod gateway;
pub mod graph;
pub mod grpc;
mod intake;
pub mod inventory;
pub mod journey;
mod lacks;
pub mod live;
pub mod metrics;
pub mod named;
pub mod opensvc;
mod page;
pub mod pb;
mod reads;
mod reflection;
pub mod run;
pub mod screen;
pub mod sim;
pub mod start;
pub mod state;
pub mod status;
pub mod traces;
mod view;
mod writes;
pub mod xds;
