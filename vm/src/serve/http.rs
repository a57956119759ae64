//! Health, status and metrics over HTTP, for probes on this machine. Four pages to read, nothing to change.
use super::metrics::Metrics;
use super::queue::Queue;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at a time; more wait.
const CONNECTIONS: usize = 16;

/// Answers until the task is dropped.
pub async fn serve(listener: TcpListener, queue: Arc<Queue>, metrics: Arc<Metrics>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, for example.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (queue, metrics) = (queue.clone(), metrics.clone());
        tokio::spawn(async move {
            let page = service_fn(|request: Request<Incoming>| {
                let response = page(&request, &queue, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(5)).max_buf_size(16 << 10);
            let whole =
                tokio::time::timeout(Duration::from_secs(30), http.serve_connection(TokioIo::new(stream), page));
            // What a prober does wrong is its own affair.
            let _ = whole.await;
            drop(place);
        });
    }
}

fn page(request: &Request<Incoming>, queue: &Queue, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/healthz") => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        (&Method::GET, "/readyz") if metrics.is_ready() && !queue.is_draining() => {
            (StatusCode::OK, "text/plain", "ready\n".to_owned())
        }
        (&Method::GET, "/readyz") => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready\n".to_owned()),
        (&Method::GET, "/status") => {
            (StatusCode::OK, "application/json", metrics.status(queue.waiting(), queue.is_draining()) + "\n")
        }
        (&Method::GET, "/metrics") => (StatusCode::OK, "text/plain; version=0.0.4", metrics.text(queue.waiting())),
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "text/plain", "not here\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "only GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
