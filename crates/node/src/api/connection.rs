//! Connections to the node's API: accepted, shown to TLS, and served for as long as their place is theirs.
//!
//! Never here: who may hold a place ([`super::places`]), and what an answer says.

use super::places::{self, Places, Watched};
use super::reply::{Reply, refuse, text};
use super::route::Route;
use super::{Api, Query, access, forward, log, remote};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use skiff_api::wire::User;
use skiff_base::Lock;
use skiff_base::{Tasks, accept, fault};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A head arrives within this time, and a next request begins: clients keep idle connections for 90 s, and have some
/// seconds beyond, so that it is they who close.
const HEAD: Duration = Duration::from_secs(90 + 10);
/// A head is not larger; the API server's are some hundred bytes, and tokens are of some thousand.
const HEAD_MOST: usize = 64 * 1024;

/// What goes on over a connection once it is upgraded: left by the handler, run by the connection's
/// own task after the answer is out.
pub type Session = Arc<Lock<Option<BoxFuture<'static, ()>>>>;

/// Leaves what goes on over a connection as soon as its upgrade is answered.
pub fn leave<W>(
    request: &mut Request<Incoming>,
    later: &Session,
    work: impl FnOnce(TokioIo<Upgraded>) -> W + Send + 'static,
) where
    W: Future<Output = ()> + Send + 'static,
{
    let on = hyper::upgrade::on(request);
    let session = async move {
        match on.await {
            Ok(upgraded) => work(TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "an upgrade did not come about"),
        }
    };
    *later.lock() = Some(Box::pin(session));
}

impl Api {
    /// Accepts connections until the task group is stopped. HTTP/1.1 alone is spoken: it is what upgrades need, and no
    /// peer can open or reset thousands of streams in it.
    pub async fn run(self: Arc<Self>, listener: &TcpListener, tasks: Tasks) {
        let places = Places::new(self.world.clone());
        let mut tls = rustls::ServerConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        loop {
            let (stream, address) = accept::accept(listener, &self.world).await;
            fault::point("node-api");
            accept::set_options(&stream, address);
            let held = places.enter();
            let connection = Connection { api: self.clone(), places: places.clone(), address };
            let served = connection.serve(acceptor.clone(), stream, held.place.clone());
            tasks.spawn(async move {
                tokio::select! {
                    biased;
                    () = held.over() => tracing::debug!(%address, "a connection gave its place"),
                    () = served => {}
                }
            });
        }
    }
}

/// One connection.
#[derive(Clone)]
struct Connection {
    api: Arc<Api>,
    places: Arc<Places>,
    address: SocketAddr,
}

impl Connection {
    async fn serve(self, acceptor: TlsAcceptor, stream: TcpStream, place: Arc<places::Place>) {
        let address = self.address;
        let watched = Watched { inner: stream, place: place.clone() };
        let stream = match acceptor.accept(watched).await {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, %address, "TLS handshake failed"),
        };
        let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let user = leaf.and_then(|leaf| (self.api.user_of)(leaf)).map(Arc::new);
        if user.is_some() {
            place.prove();
        }
        let session = Session::default();
        let later = session.clone();
        let service = hyper::service::service_fn(move |request| {
            let (asked, user) = (self.clone(), user.clone());
            let (later, place) = (later.clone(), place.clone());
            async move { Ok::<_, Infallible>(asked.answer(user, request, &later, &place).await) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_MOST);
        let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        if let Err(error) = served {
            tracing::debug!(%error, %address, "a connection to the node ended");
        }
        let work = session.lock().take();
        if let Some(work) = work {
            work.await;
        }
    }

    async fn answer(
        self,
        certificate: Option<Arc<User>>,
        request: Request<Incoming>,
        later: &Session,
        place: &places::Place,
    ) -> Response<Reply> {
        let Connection { api, places, .. } = self;
        api.metrics.requests.fetch_add(1, Ordering::Relaxed);
        let route = Route::of(request.uri().path());
        let asked = access::asked(request.method(), &route);
        let bearer = request.headers().get(header::AUTHORIZATION);
        if let Err((code, why)) = api.access.check(certificate, bearer, &asked).await {
            api.metrics.refused.fetch_add(1, Ordering::Relaxed);
            let mut response = text(code, why);
            if code == StatusCode::UNAUTHORIZED {
                // Who is nobody gets no second try on the same place.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            return response;
        }
        place.prove();
        if !route.takes(request.method()) && route != Route::Nothing {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
        }
        match route {
            Route::Healthz => text(StatusCode::OK, "ok"),
            Route::Metrics => text(StatusCode::OK, api.metrics(&places)),
            Route::Pods => api.pods().await,
            Route::Log(place) => {
                log::answer(&api, place, &Query::parse(request.uri().query())).await
            }
            Route::Exec(place) => remote::exec(api, place, request, later),
            Route::Attach(place) => remote::attach(api, place, request, later),
            Route::Forward(place) => forward::answer(api, place, request, later),
            Route::Nothing => refuse(StatusCode::NOT_FOUND, "404 page not found"),
        }
    }
}
