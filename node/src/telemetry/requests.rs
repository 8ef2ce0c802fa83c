//! Requests by route and status class: a fixed table of counters, so that counting one is an index and an addition.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Counter;

/// What a request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// PUT of a stream.
    Create,
    /// POST to a stream.
    Append,
    /// GET of a stream, answered at once.
    Read,
    /// GET with `live=long-poll`.
    LongPoll,
    /// GET with `live=sse`.
    Sse,
    /// HEAD of a stream.
    Head,
    /// DELETE of a stream.
    Delete,
    /// The listing of streams.
    List,
    /// CORS preflight.
    Options,
    /// Anything below `__ds`.
    Subscription,
    /// Health, readiness, metrics.
    Operation,
    /// What is no route of ours, or no HTTP.
    Other,
}

impl Route {
    /// All of them, in the order of their numbers.
    const ALL: [(Self, &'static str); 12] = [
        (Self::Create, "create"),
        (Self::Append, "append"),
        (Self::Read, "read"),
        (Self::LongPoll, "long_poll"),
        (Self::Sse, "sse"),
        (Self::Head, "head"),
        (Self::Delete, "delete"),
        (Self::List, "list"),
        (Self::Options, "options"),
        (Self::Subscription, "subscription"),
        (Self::Operation, "operation"),
        (Self::Other, "other"),
    ];
}

/// The first digit of a status says who has something to do.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: &'static str,
    status: &'static str,
}

/// Answered requests.
#[derive(Debug)]
pub struct Requests([[Counter; CLASSES.len()]; Route::ALL.len()]);

impl Requests {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let family = Family::<Labels, Counter>::default();
        let cells = Route::ALL
            .map(|(_, route)| CLASSES.map(|status| family.get_or_create_owned(&Labels { route, status })));
        registry.register("http_requests", "Answered requests by route and status class", family);
        Self(cells)
    }

    /// Counts one answer.
    pub fn count(&self, route: Route, status: u16) {
        let class = usize::from(status / 100).saturating_sub(2);
        if let Some(counter) = self.0.get(route as usize).and_then(|row| row.get(class)) {
            counter.inc();
        }
    }

    /// How many answers of this route and status class there were.
    #[must_use]
    pub fn answered(&self, route: Route, status: u16) -> u64 {
        let class = usize::from(status / 100).saturating_sub(2);
        self.0.get(route as usize).and_then(|row| row.get(class)).map_or(0, Counter::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_and_class_has_a_counter_of_its_own() {
        let requests = Requests::register(&mut Registry::default());
        for (number, (route, _)) in Route::ALL.into_iter().enumerate() {
            assert_eq!(route as usize, number);
            [200, 304, 404, 503].into_iter().for_each(|status| requests.count(route, status));
        }
        requests.count(Route::Append, 204);
        assert_eq!(requests.answered(Route::Append, 200), 2);
        assert_eq!(requests.answered(Route::Other, 599), 1);
        requests.count(Route::Other, 0);
        requests.count(Route::Other, u16::MAX);
    }
}
