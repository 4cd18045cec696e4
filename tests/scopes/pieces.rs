//! Random virtual hosts that come, change and go, and random hosts that are asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use osvc_igw::gateway::{Gateway, RouteConfiguration, VirtualHost};

use super::site::{gateway, host, limited, name};
use crate::random::Random;

/// What is served now.
pub(super) struct World {
    random: Random,
    hosts: BTreeMap<usize, Arc<VirtualHost>>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            hosts: BTreeMap::new(),
        }
    }

    /// Some come, change or go.
    pub(super) fn step(&mut self) {
        for _ in 0..=self.random.below(5) {
            let number = self.random.below(12);
            if self.random.below(3) == 0 {
                self.hosts.remove(&number);
                continue;
            }
            let all: Vec<String> = (0..=self.random.below(3))
                .map(|part| self.domain(number, part))
                .collect();
            let domains: Vec<&str> = all.iter().map(String::as_str).collect();
            let mut one = host(number, &domains);
            if self.random.below(30) == 0 {
                one = limited(one);
            }
            self.hosts.insert(number, Arc::new(one));
        }
    }

    /// No two hosts have the same.
    fn domain(&mut self, number: usize, part: usize) -> String {
        match self.random.below(9) {
            0 => format!("*.p{part}.d{number}.test"),
            1 => format!("p{part}.d{number}.*"),
            2 => format!("[::{number}:{part}]"),
            3 if number == 0 && part == 0 => "*".to_owned(),
            _ => format!("p{part}.d{number}.test"),
        }
    }

    pub(super) fn gateway(&self) -> Gateway {
        let mut here = gateway(80);
        let virtual_hosts = self.hosts.values().cloned().collect();
        here.routes
            .insert(name(80), RouteConfiguration { virtual_hosts });
        here
    }

    /// What may be asked for: what is there, written otherwise, and what is not.
    pub(super) fn asked(&mut self) -> Vec<String> {
        let hosts = self.hosts.values();
        let mut all: Vec<String> = hosts.flat_map(|host| host.domains.clone()).collect();
        all = all
            .iter()
            .map(|domain| domain.replace('*', "some"))
            .collect();
        let more = [
            "",
            "*",
            "x",
            "[::1]",
            "a.p0.d1.test",
            "p1.d2.test.org",
            "[::99]:1",
            "a:b:80",
        ];
        all.extend(more.map(str::to_owned));
        let upper = all.iter().map(|one| one.to_uppercase());
        let ports = all.iter().map(|one| format!("{one}:8080"));
        let longer = all.iter().map(|one| format!("{one}."));
        let others: Vec<String> = upper.chain(ports).chain(longer).collect();
        all.extend(others);
        all
    }
}
