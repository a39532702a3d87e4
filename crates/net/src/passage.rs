//! A passage through the machine's own firewall for a range of ours.
//!
//! A packet that any chain of the kernel drops is dropped, whatever other tables say: a machine whose
//! `FORWARD` drops what it does not know (Docker, ufw) cuts pods off. Where that chain is one of
//! nftables, as today's `iptables` writes it, two rules are added that accept the range, last before
//! what would drop everything, so that each of the machine's own rules still comes first. They carry
//! the link's name as comment and are taken out with the link.
//!
//! What else stands in the way is named, with the command that mends it: chains that somebody else
//! made are not for us to write to, and those of the older `iptables` are not to be had from here.

use crate::legacy;
use crate::netlink::socket::Socket;
use crate::nft::batch::{Batch, Step};
use crate::nft::expression::{Expression, Side, When, within};
use crate::nft::read::{self, BaseChain, Ending, Rule};
use crate::nft::value::Verdict;
use crate::{NetNs, Result};
use skiff_base::Cidr;

/// Where `iptables` puts its rules.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";

/// Something that drops packets of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub what: String,
    /// What to type.
    pub command: String,
}

/// Opens it where it is needed; once is enough. Returns whether something was done.
pub fn open(rules: &mut Socket, mark: &str, range: Cidr) -> Result<bool> {
    let Some(chain) = read::base_chains(rules)?.into_iter().find(is_forward) else {
        return Ok(false);
    };
    let all = read::rules(rules, &chain)?;
    let end = all.iter().position(|rule| rule.ending == Ending::Drops);
    let (ours, others): (Vec<&Rule>, Vec<_>) = all.iter().partition(|rule| rule.mark == mark);
    let before = all[..end.unwrap_or(all.len())].iter().filter(|rule| rule.mark == mark).count();
    if (!chain.drops && end.is_none()) || (before == 2 && ours.len() == 2) {
        return Ok(false);
    }
    let mut batch = Batch::new(TABLE);
    batch.steps.extend(ours.iter().map(|rule| delete(rule)));
    let before = others.iter().find(|rule| rule.ending == Ending::Drops).map(|rule| rule.handle);
    for side in [Side::Source, Side::Destination] {
        let mut rule = within(side, range, When::Equal);
        rule.push(Expression::End(Verdict::Accept));
        let (chain, mark) = (CHAIN.to_string(), mark.to_string());
        batch.steps.push(Step::AddMarkedRule { chain, rule, mark, before });
    }
    batch.commit(rules).map(|()| true)
}

/// Takes it away.
pub fn remove(rules: &mut Socket, mark: &str) -> Result<()> {
    let Some(chain) = read::base_chains(rules)?.into_iter().find(is_forward) else {
        return Ok(());
    };
    let all = read::rules(rules, &chain)?;
    let mut batch = Batch::new(TABLE);
    batch.steps.extend(all.iter().filter(|rule| rule.mark == mark).map(delete));
    batch.commit(rules)
}

fn delete(rule: &Rule) -> Step {
    Step::DeleteRule { chain: CHAIN.to_string(), handle: rule.handle }
}

fn is_forward(chain: &BaseChain) -> bool {
    chain.is_ip() && chain.table == TABLE && chain.name == CHAIN && chain.forwards
}

/// What stands in the way of a range.
pub fn obstacles(
    rules: &mut Socket,
    namespace: &NetNs,
    mark: &str,
    range: Cidr,
) -> Result<Vec<Obstacle>> {
    let mut found = Vec::new();
    for chain in read::base_chains(rules)?.into_iter().filter(|chain| chain.forwards) {
        let all = read::rules(rules, &chain)?;
        let end = all.iter().position(|rule| rule.ending == Ending::Drops);
        let passes = all[..end.unwrap_or(all.len())].iter().filter(|rule| rule.mark == mark);
        if (chain.drops || end.is_some()) && passes.count() < 2 {
            found.push(obstacle(&chain, mark, range));
        }
    }
    if legacy::forward_drops(namespace, range)? {
        let add = |side| format!("iptables-legacy -I FORWARD {side} {range} -j ACCEPT");
        found.push(Obstacle {
            what: "the chain FORWARD of the older iptables drops the packets of pods".to_string(),
            command: format!("{} && {}", add("-s"), add("-d")),
        });
    }
    Ok(found)
}

fn obstacle(chain: &BaseChain, mark: &str, range: Cidr) -> Obstacle {
    let BaseChain { table, name, .. } = chain;
    let family = if chain.is_ip() { "ip" } else { "inet" };
    let add = |side| {
        let rule = format!("ip {side} {range} accept comment {mark}");
        format!("nft insert rule {family} {table} {name} {rule}")
    };
    Obstacle {
        what: format!("the chain {name} of the table {family} {table} drops the packets of pods"),
        command: format!("{} && {}", add("saddr"), add("daddr")),
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::*;
    use std::process::Command;

    /// As `iptables` of Debian 12 sets it up, and Docker uses it.
    const DROPS: &str = "add table ip filter; \
        add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; \
        add chain ip filter USER; add rule ip filter FORWARD jump USER";

    #[test]
    fn pods_pass_a_forward_chain_that_drops() {
        let world = World::new();
        let (a, b) = (world.pod("a"), world.pod("b"));
        tcp_server(&b.ns, "b", 80);
        tcp_server(&world.client, "client", 82);
        let forward = || nft(&world.node, "chain ip filter FORWARD");
        let does = |what: &str| nft_does(&world.node, what);
        let reaches = || {
            assert_eq!(tcp_ask(&a.ns, "10.244.0.3:80"), "b from 10.244.0.2", "{}", forward());
            assert_eq!(tcp_ask(&a.ns, "192.168.77.2:82"), "client from 192.168.77.1");
        };
        does(DROPS);
        assert_eq!(tcp_silence(&a.ns, "10.244.0.3:80"), "TimedOut", "dropped");
        assert_eq!(world.network.obstacles().unwrap().len(), 1);
        world.network.pass().unwrap();
        reaches();
        assert_eq!(world.network.obstacles().unwrap(), []);
        let once = forward();
        assert!(once.find("jump USER") < once.find("10.244.0.0/24 accept"), "{once}");
        world.network.pass().unwrap();
        assert_eq!(forward(), once, "once is enough");
        does("add rule ip filter USER ip daddr 192.168.77.2 drop");
        let denied = tcp_silence(&a.ns, "192.168.77.2:82");
        assert_eq!(denied, "TimedOut", "the machine's own denial comes first");
        does("flush chain ip filter USER; flush chain ip filter FORWARD");
        does("add rule ip filter FORWARD counter reject with icmp type admin-prohibited");
        world.network.pass().unwrap();
        reaches();
        does("insert rule ip filter FORWARD counter reject");
        assert_eq!(tcp_ask(&a.ns, "10.244.0.3:80"), "ConnectionRefused", "somebody is before us");
        assert_eq!(world.network.obstacles().unwrap().len(), 1);
        world.network.pass().unwrap();
        reaches();
        let World { network, node, .. } = world;
        network.teardown().unwrap();
        let rules = nft(&node, "ruleset");
        assert!(!rules.contains("skiff0") && rules.contains("policy drop"), "{rules}");
    }

    /// The command that mends it is the one that `status` shows.
    #[test]
    fn what_stands_in_the_way_is_named_and_mended_as_told() {
        let world = World::new();
        let (a, b) = (world.pod("a"), world.pod("b"));
        tcp_server(&b.ns, "b", 80);
        nft_does(
            &world.node,
            "add table inet firewalld; add chain inet firewalld filter_FORWARD \
             { type filter hook forward priority 10; policy accept; }; \
             add rule inet firewalld filter_FORWARD reject with icmpx type admin-prohibited; \
             add table ip mine; \
             add chain ip mine f { type filter hook forward priority 5; policy accept; }; \
             add rule ip mine f ip daddr 192.0.2.1 drop",
        );
        world.network.pass().unwrap();
        assert!(!tcp_silence(&a.ns, "10.244.0.3:80").starts_with("b from "));
        let found = world.network.obstacles().unwrap();
        let [obstacle] = &found[..] else { panic!("{found:?}") };
        let what = "the chain filter_FORWARD of the table inet firewalld drops the packets of pods";
        assert_eq!(obstacle.what, what);
        for command in obstacle.command.split(" && ") {
            nft_does(&world.node, command.strip_prefix("nft ").unwrap());
        }
        assert_eq!(tcp_ask(&a.ns, "10.244.0.3:80"), "b from 10.244.0.2");
        assert_eq!(world.network.obstacles().unwrap(), []);
    }

    /// By the tool itself, for its tables are to be had from nowhere else.
    #[test]
    fn the_older_iptables_is_named_too() {
        let world = World::new();
        let shell = |line: &str| {
            let done = world.node.run(|| Command::new("sh").args(["-c", line]).output()).unwrap();
            let done = done.expect("there is a shell");
            assert!(done.status.success(), "{line}: {done:?}");
        };
        shell("iptables-legacy -A FORWARD -s 192.0.2.1 -j DROP");
        assert_eq!(world.network.obstacles().unwrap(), [], "it drops somebody else's");
        shell("iptables-legacy -P FORWARD DROP");
        let found = world.network.obstacles().unwrap();
        let [obstacle] = &found[..] else { panic!("{found:?}") };
        let what = "the chain FORWARD of the older iptables drops the packets of pods";
        assert_eq!(obstacle.what, what);
        shell(&obstacle.command);
        assert_eq!(world.network.obstacles().unwrap(), []);
    }
}
