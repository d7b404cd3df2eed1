//! How many connections there may be: in all, and of one client.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::client::{Network, counted_as};

/// How many of a server's connections one client may have.
#[derive(Debug, Clone)]
pub struct Share {
    /// Most from one address (of IPv6 from one /64).
    pub of_one_max: usize,
    /// Whose connections are those of many clients, so that they may be any number.
    pub proxies: Vec<Network>,
}

/// The places of one server.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    crowd: Crowd,
    /// None = whoever comes may take all.
    share: Option<Share>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// When fewer than one in so many places are free, connections are not kept between requests.
const KEPT_ABOVE_ONE_IN: usize = 32;

/// Tells when connections are too few to be kept by those who ask nothing.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    all: Arc<Semaphore>,
    few: usize,
}

impl Crowd {
    /// Are hardly any places left?
    pub(crate) fn is_dense(&self) -> bool {
        self.all.available_permits() <= self.few
    }
}

/// One that is free, for whoever comes next.
pub(crate) struct Free(OwnedSemaphorePermit);

/// One that is taken, until it is dropped.
pub(crate) struct Taken {
    address: IpAddr,
    of_all: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _place: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(all: usize, share: Option<Share>) -> Self {
        let few = all / KEPT_ABOVE_ONE_IN;
        let all = Arc::new(Semaphore::new(all));
        Self {
            crowd: Crowd {
                all: Arc::clone(&all),
                few,
            },
            all,
            share,
            taken: Arc::default(),
        }
    }

    /// How crowded they are, at any time.
    pub(crate) fn crowd(&self) -> Crowd {
        self.crowd.clone()
    }

    /// Waits for a free place; `None` = never.
    pub(crate) async fn free(&self) -> Option<Free> {
        // The semaphore is never closed, so this only fails by being dropped with us.
        Arc::clone(&self.all).acquire_owned().await.ok().map(Free)
    }

    /// Gives a place to `peer`, or back to whoever comes next when its address has its share already.
    pub(crate) fn take(&self, free: Free, peer: SocketAddr) -> Result<Taken, Free> {
        let address = counted_as(peer.ip());
        let most = self.most_of(peer.ip().to_canonical());
        let mut taken = locked(&self.taken);
        let of_one = taken.entry(address).or_default();
        if *of_one >= most {
            return Err(free);
        }
        *of_one += 1;
        drop(taken);
        Ok(Taken {
            address,
            of_all: Arc::clone(&self.taken),
            _place: free.0,
        })
    }

    fn most_of(&self, peer: IpAddr) -> usize {
        let share = self.share.as_ref();
        let share = share.filter(|share| !share.proxies.iter().any(|proxy| proxy.contains(&peer)));
        share.map_or(usize::MAX, |share| share.of_one_max)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = locked(&self.of_all);
        if let Some(of_one) = taken.get_mut(&self.address) {
            *of_one -= 1;
            if *of_one == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

fn locked(taken: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_address_takes_its_share_and_no_more() {
        let share = Share {
            of_one_max: 2,
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
        };
        let places = Places::new(4, Some(share));
        let take = async |peer: &str| {
            let free = places.free().await.unwrap();
            places.take(free, peer.parse().unwrap()).ok()
        };
        let first = take("192.0.2.1:1").await.unwrap();
        let _second = take("[::ffff:192.0.2.1]:2").await.unwrap();
        assert!(take("192.0.2.1:3").await.is_none());
        // Of IPv6 whoever has one address has the /64.
        let _third = take("[2001:db8::1]:1").await.unwrap();
        let fourth = take("[2001:db8::2]:1").await.unwrap();
        assert_eq!(places.all.available_permits(), 0);
        drop(fourth);
        drop(first);
        assert!(take("[2001:db8::3]:1").await.is_some());
        assert!(take("192.0.2.1:3").await.is_some());
        assert_eq!(locked(&places.taken).len(), 2);
    }

    #[tokio::test]
    async fn a_proxy_in_front_has_the_places_of_all_its_clients() {
        let share = Share {
            of_one_max: 1,
            proxies: vec!["10.0.0.0/8".parse().unwrap()],
        };
        let places = Places::new(4, Some(share));
        let mut held = Vec::new();
        for peer in ["10.1.2.3:1", "10.1.2.3:2", "[::ffff:10.1.2.3]:3"] {
            let free = places.free().await.unwrap();
            held.push(places.take(free, peer.parse().unwrap()).ok().unwrap());
        }
        assert_eq!(places.all.available_permits(), 1);
    }
}
