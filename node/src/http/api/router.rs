//! Which handler answers which path. The three hot verbs of a stream come first and are told apart by bytes alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cursor::{JITTER_SECONDS_MAX, next_cursor};
use super::elsewhere::{elsewhere, shard_of};
use super::errors::{MISDIRECTED, NOT_LEADER, Rejection};
use super::names::{STREAM_ROOT, decode_name};
use super::preflight::{method_not_allowed, not_found, preflight};
use super::query::{LiveMode, ReadQuery};
use super::{Settings, Site, Sse, append, create, delete, head, list, long_poll, rare, read, sse};
use crate::http::forward::{ANSWERED, Forwarder, UNDONE, Wishes};
use crate::http::wire::{Body, Exchange, Field, Method, Request, ResponseHead, Service};
use crate::runtime::{Engine, Whereabouts};
use crate::seam::Clock;
use crate::telemetry::Route;
use crate::types::{ShardId, UnixMillis};

const STREAM_METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
const READ_METHODS: &str = "GET, HEAD, OPTIONS";

/// Refusals that are about what this node stores, and not about the stream.
const DAMAGE: [&str; 3] = ["shard_damaged", "shard_reopening", "data_corrupt"];

/// The HTTP face of an engine; cheap to clone.
#[derive(Debug, Clone)]
pub struct Api(Arc<Inner>);

/// Draws a number from `1..=` its argument.
type Draw = Box<dyn Fn(u64) -> u64 + Send + Sync>;

struct Inner {
    engine: Engine,
    clock: Arc<dyn Clock>,
    draw: Draw,
    settings: Settings,
    site: Site,
    forwarder: Forwarder,
    /// It was said that somebody else is meant here.
    misdirected: AtomicBool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Api {
    /// `draw(n)` gives a random number from `1..=n`; it need not be secret.
    #[must_use]
    pub fn new(
        engine: Engine,
        clock: Arc<dyn Clock>,
        draw: impl Fn(u64) -> u64 + Send + Sync + 'static,
        settings: Settings,
        site: Site,
    ) -> Self {
        let forwarder = Forwarder::new(settings.forward.clone());
        Self(Arc::new(Inner {
            engine,
            clock,
            draw: Box::new(draw),
            settings,
            site,
            forwarder,
            misdirected: AtomicBool::new(false),
        }))
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(super) fn forwarder(&self) -> &Forwarder {
        &self.0.forwarder
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.0.clock.now()
    }

    /// The cursor of an answer to a client that brought `client`.
    pub(super) fn cursor(&self, client: Option<u64>) -> u64 {
        next_cursor(self.0.clock.now(), client, || (self.0.draw)(JITTER_SECONDS_MAX))
    }

    async fn stream(
        &self,
        name: &[u8],
        request: &Request<'_>,
        exchange: &Exchange<'_>,
        out: &mut ResponseHead,
    ) -> Body<Sse> {
        match request.head.method {
            Method::Post => append::append(self, name, request, exchange, out).await,
            Method::Get => self.get(name, request, exchange, out).await,
            Method::Head => head::head(self, name, out).await,
            Method::Put => Box::pin(create::create(self, name, request, exchange, out)).await,
            Method::Delete => Box::pin(delete::delete(self, name, out)).await,
            Method::Options => preflight(out),
            Method::Other => method_not_allowed(out, STREAM_METHODS),
        }
    }

    async fn get(
        &self,
        name: &[u8],
        request: &Request<'_>,
        exchange: &Exchange<'_>,
        out: &mut ResponseHead,
    ) -> Body<Sse> {
        let name = match decode_name(name) {
            Ok(name) => name,
            Err(error) => return Rejection::name(error).write(out),
        };
        let query = match ReadQuery::parse(request.query()) {
            Ok(query) => query,
            Err(rejection) => return rejection.write(out),
        };
        match query.live {
            LiveMode::None => read::read(self, &name, query, request, exchange, out).await,
            LiveMode::LongPoll => Box::pin(long_poll::long_poll(self, &name, query, exchange, out)).await,
            LiveMode::Sse => Box::pin(sse::sse(self, &name, query, exchange, out)).await,
        }
    }

    async fn beside(
        &self,
        request: &Request<'_>,
        exchange: &Exchange<'_>,
        out: &mut ResponseHead,
    ) -> Body<Sse> {
        let path = request.path();
        let method = request.head.method;
        if method == Method::Options {
            return preflight(out);
        }
        if !matches!(path, b"/v1/streams" | b"/healthz" | b"/readyz" | b"/metrics") {
            return not_found(out);
        }
        if !matches!(method, Method::Get | Method::Head) {
            return method_not_allowed(out, READ_METHODS);
        }
        match path {
            b"/v1/streams" => list::list(self, request.query(), exchange, out).await,
            b"/healthz" => Site::healthz(out),
            b"/readyz" => self.0.site.readyz(is_strict(request.query()), out),
            _ => self.0.site.metrics(out),
        }
    }
}

impl Service for Api {
    type Live = Sse;

    fn may_wait(&self, request: &Request<'_>) -> bool {
        request.head.method == Method::Get
            && request.query().is_some_and(|query| memchr::memmem::find(query, b"live").is_some())
    }

    async fn call<'a>(
        &'a self,
        request: Request<'a>,
        exchange: &'a Exchange<'a>,
        out: &'a mut ResponseHead,
    ) -> Body<Sse> {
        let route = route(&request);
        let meant = request.field(Field::Forwarded);
        if let Some(meant) = meant.filter(|meant| !self.engine().party().answers_to(meant)) {
            let body = self.misdirected(meant, out);
            exchange.registry().metrics.requests.count(route, out.status());
            return body;
        }
        let body = if let Some(shard) = self.led_elsewhere(&request) {
            Box::pin(elsewhere(self, shard, &request, exchange, out)).await
        } else {
            let body = self.serve(&request, exchange, out).await;
            match self.lost(&request, out).or_else(|| self.unread(&request, out)) {
                None => body,
                Some(shard) => Box::pin(elsewhere(self, shard, &request, exchange, out)).await,
            }
        };
        if let Some(meant) = meant {
            out.header(ANSWERED, meant);
        }
        let route = match &body {
            Body::Live(_) => Route::Sse,
            _ if out.waited() => Route::LongPoll,
            _ => route,
        };
        exchange.registry().metrics.requests.count(route, out.status());
        body
    }
}

impl Api {
    /// Another node means somebody else, who was at this address before. Nothing is done, and that node hears so.
    fn misdirected(&self, meant: &[u8], out: &mut ResponseHead) -> Body<Sse> {
        if !self.0.misdirected.swap(true, Ordering::Relaxed) {
            let (meant, me) = (meant.escape_ascii(), self.engine().party());
            tracing::warn!(%meant, %me, "another node passes requests on to this address and means somebody else; they are refused");
        }
        let body = MISDIRECTED.write(
            out,
            "the node that this was passed on to is not the one that was meant; nothing was done",
        );
        out.header(UNDONE, b"1");
        Body::Full(body)
    }

    /// The shard that decides about a request, if another node leads it. A node on its own leads every shard.
    fn led_elsewhere(&self, request: &Request<'_>) -> Option<ShardId> {
        if self.engine().leads_all() {
            return None;
        }
        shard_of(self.engine(), request).filter(|shard| self.engine().leader(*shard) != Whereabouts::Here)
    }

    /// The same, if this node led when the request came, and did nothing because it does no more.
    fn lost(&self, request: &Request<'_>, out: &ResponseHead) -> Option<ShardId> {
        (out.refusal() == Some(NOT_LEADER.code)).then(|| shard_of(self.engine(), request)).flatten()
    }

    /// The shard of a read that is refused here because of damage, if another node leads it: that one has the bytes. A subscriber
    /// comes again.
    fn unread(&self, request: &Request<'_>, out: &ResponseHead) -> Option<ShardId> {
        let is_read = matches!(request.head.method, Method::Get | Method::Head) && !self.may_wait(request);
        let is_damage = out.refusal().is_some_and(|code| DAMAGE.contains(&code));
        if !is_read || !is_damage || Wishes::of(request).forwarded {
            return None;
        }
        let name = request.path().strip_prefix(STREAM_ROOT).filter(|name| !is_reserved(name))?;
        let shard = self.engine().shard_of(&decode_name(name).ok()?);
        matches!(self.engine().leader(shard), Whereabouts::There(..)).then_some(shard)
    }

    /// Answers here, whoever leads.
    pub(super) async fn serve(
        &self,
        request: &Request<'_>,
        exchange: &Exchange<'_>,
        out: &mut ResponseHead,
    ) -> Body<Sse> {
        match request.path().strip_prefix(STREAM_ROOT) {
            Some(name) if is_reserved(name) && request.head.method == Method::Options => preflight(out),
            Some(name) if is_reserved(name) => Box::pin(rare::rare(&self.0.site.rare, request, out)).await,
            Some(name) => self.stream(name, request, exchange, out).await,
            None => Box::pin(self.beside(request, exchange, out)).await,
        }
    }
}

/// What a request asks for, as far as method and path tell.
pub(super) fn route(request: &Request<'_>) -> Route {
    let method = request.head.method;
    match (request.path().strip_prefix(STREAM_ROOT), request.path()) {
        _ if method == Method::Options => Route::Options,
        (Some(name), _) if is_reserved(name) => Route::Subscription,
        (Some(_), _) => match method {
            Method::Post => Route::Append,
            Method::Get => Route::Read,
            Method::Head => Route::Head,
            Method::Put => Route::Create,
            Method::Delete => Route::Delete,
            Method::Options | Method::Other => Route::Other,
        },
        (None, b"/v1/streams") => Route::List,
        (None, b"/healthz" | b"/readyz" | b"/metrics") => Route::Operation,
        (None, _) => Route::Other,
    }
}

/// `strict` in the query, without a value or with one that does not say no.
fn is_strict(query: Option<&[u8]>) -> bool {
    let mut fields = query.unwrap_or_default().split(|byte| *byte == b'&');
    let is_on = |value: &[u8]| !matches!(value, b"=0" | b"=false");
    fields.any(|field| {
        field
            .strip_prefix(b"strict")
            .is_some_and(|value| value.is_empty() || (value.starts_with(b"=") && is_on(value)))
    })
}

/// Below `__ds` subscriptions live.
pub(super) fn is_reserved(name: &[u8]) -> bool {
    name.strip_prefix(b"__ds").is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_is_a_field_of_its_own() {
        for (query, strict) in [
            ("strict", true),
            ("a=b&strict", true),
            ("strict=1", true),
            ("strict=0", false),
            ("strict=false", false),
            ("stricter", false),
            ("a=strict", false),
        ] {
            assert_eq!(is_strict(Some(query.as_bytes())), strict, "{query}");
        }
        assert!(!is_strict(None));
    }

    #[test]
    fn only_the_reserved_segment_is_reserved() {
        for (name, reserved) in
            [("__ds", true), ("__ds/x", true), ("__dsx", false), ("a/__ds", false), ("", false)]
        {
            assert_eq!(is_reserved(name.as_bytes()), reserved, "{name}");
        }
    }
}
