//! EDGE: gRPC server reflection, in both of its versions, over all services that are served.
//!
//! Nobody may ever ask for it, and the descriptors of Envoy's API take megabytes: nothing of it is
//! made before the first request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use prost_reflect::FileDescriptor;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_reflection::server::Builder;

use crate::pb;
use crate::xds::json::{self, JsonError};

/// Why the services cannot be described: this program is broken.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The descriptors of Envoy's services.
    #[error(transparent)]
    Envoy(#[from] JsonError),
    /// The descriptors of the services.
    #[error("the built-in descriptors of the services are damaged: {0}")]
    Descriptors(#[from] tonic_reflection::server::Error),
}

/// Adds reflection to services, of which those of Envoy's API are `envoy`.
pub(crate) fn add(routes: Routes, envoy: &'static [&'static str]) -> Routes {
    let v1 = Later::new(move || Ok(builder(envoy)?.build_v1()?));
    let v1alpha = Later::new(move || Ok(builder(envoy)?.build_v1alpha()?));
    routes.add_service(v1).add_service(v1alpha)
}

fn builder(envoy: &[&str]) -> Result<Builder<'static>, Error> {
    let envoy = described(envoy)?;
    Ok(Builder::configure()
        .register_encoded_file_descriptor_set(pb::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .register_file_descriptor_set(envoy))
}

/// The files that define Envoy's services, and all that they import. What else they define and is
/// not served is left out.
fn described(services: &[&str]) -> Result<FileDescriptorSet, JsonError> {
    let pool = json::descriptors()?;
    let mut files: BTreeMap<String, FileDescriptorProto> = BTreeMap::new();
    let found = services
        .iter()
        .filter_map(|name| pool.get_service_by_name(name));
    let mut next: Vec<FileDescriptor> = found.map(|it| it.parent_file()).collect();
    while let Some(file) = next.pop() {
        if files.contains_key(file.name()) {
            continue;
        }
        next.extend(file.dependencies());
        let mut content = file.file_descriptor_proto().clone();
        let package = file.package_name().to_owned();
        content.service.retain(|service| {
            let name = format!("{package}.{}", service.name());
            services.contains(&name.as_str())
        });
        files.insert(file.name().to_owned(), content);
    }
    Ok(FileDescriptorSet {
        file: files.into_values().collect(),
    })
}

/// A service that is made by its first request.
struct Later<S, F> {
    make: F,
    made: Arc<OnceCell<S>>,
}

impl<S, F> Later<S, F>
where
    F: Fn() -> Result<S, Error>,
{
    fn new(make: F) -> Self {
        let made = Arc::default();
        Self { make, made }
    }
}

impl<S, F: Clone> Clone for Later<S, F> {
    fn clone(&self) -> Self {
        Self {
            make: self.make.clone(),
            made: Arc::clone(&self.made),
        }
    }
}

impl<S: NamedService, F> NamedService for Later<S, F> {
    const NAME: &'static str = S::NAME;
}

type Answer = http::Response<Body>;

impl<S, F> Service<http::Request<Body>> for Later<S, F>
where
    S: Service<http::Request<Body>, Response = Answer, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    F: Fn() -> Result<S, Error> + Clone + Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<Answer, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { make, made } = self.clone();
        Box::pin(async move {
            let made = made.get_or_try_init(|| async {
                let made = spawn_blocking(make).await;
                made.map_err(|error| Status::internal(error.to_string()))?
                    .map_err(|error| Status::internal(error.to_string()))
            });
            match made.await {
                // Its `poll_ready` has nothing to wait for: no service of tonic's has.
                Ok(service) => service.clone().call(request).await,
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}
