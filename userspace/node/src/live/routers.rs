//! The source that listens to routers which report over BMP.

use super::{Due, Full, POLL, Start};
use crate::config::BmpConfig;
use crate::status::RouterStatus;
use edgelore_capture::Clock;
use edgelore_capture::bmp::{self, BmpError, BmpSource};
use std::thread::JoinHandle;

pub(super) fn open(config: &BmpConfig, clock: Clock) -> Result<BmpSource, BmpError> {
    let allow = config.allow.iter().map(|allowed| allowed.0).collect();
    let (listen, routers_max) = (config.listen, config.routers_max);
    BmpSource::open(bmp::BmpConfig { listen, routers_max, allow, clock })
}

pub(super) fn start(mut bmp: BmpSource, start: &Start<'_>) -> JoinHandle<()> {
    let (status, mut due) = (start.status.clone(), Due::new(start.clock));
    start.spawn("bmp", Full::Wait, move |batch| {
        let read = bmp.read(POLL, batch);
        if due.now() {
            let counters = bmp.counters().named().map(|(name, value)| (name.to_owned(), value));
            let routers = bmp.routers().map(|figures| {
                let (messages, bytes) = (figures.messages, figures.bytes);
                (figures.router, RouterStatus { messages, bytes })
            });
            let (counters, routers) = (counters.into(), routers.collect());
            let mut status = status.update();
            (status.bmp, status.bmp_routers) = (counters, routers);
        }
        read.map(drop).map_err(|error| error.to_string())
    })
}
