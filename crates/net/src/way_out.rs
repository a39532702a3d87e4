//! A way out for a network behind a link of this namespace: packets are passed on, and whatever
//! leaves takes this namespace's address, for nobody outside knows a way back to any other.
//!
//! Never here: who lives behind the link, and whether it may get out.

use crate::netlink::route::Link;
use crate::netlink::socket::{Family, Socket, unless_missing};
use crate::nft::batch::{Batch, Hook, Step, Work};
use crate::nft::expression::{Expression, Side, When, within};
use crate::passage;
use crate::pods::sysctl;
use crate::{NetNs, Result};
use skiff_base::Cidr;

/// The usual place for what changes sources.
const TRANSLATE_SOURCE: i32 = 100;
const CHAIN: &str = "leaving";

/// Opens it. `routes` is of the same namespace; the link's own name is that of the table.
pub fn open(routes: &mut Socket, namespace: &NetNs, link: &Link, behind: Cidr) -> Result<()> {
    sysctl::forward(routes, namespace, link)?;
    let mut batch = Batch::replace(&link.name);
    batch.base_chain(CHAIN, Work::Nat, Hook::Postrouting, TRANSLATE_SOURCE);
    let mut rule = within(Side::Source, behind, When::Equal);
    rule.extend(within(Side::Destination, behind, When::Different));
    rule.push(Expression::Masquerade);
    batch.rule(CHAIN, rule);
    let mut rules = Socket::open(namespace, Family::Netfilter)?;
    batch.commit(&mut rules)?;
    passage::open(&mut rules, &link.name, behind)?;
    Ok(())
}

/// Closes it, before the link goes.
pub fn close(routes: &mut Socket, namespace: &NetNs, link: &Link) -> Result<()> {
    sysctl::unforward(routes, namespace, link)
}

/// Removes the rules, which may outlive the link.
pub fn forget(namespace: &NetNs, link: &str) -> Result<()> {
    let batch = Batch { table: link.to_string(), steps: vec![Step::DeleteTable] };
    let mut rules = Socket::open(namespace, Family::Netfilter)?;
    passage::remove(&mut rules, link)?;
    unless_missing(batch.commit(&mut rules))
}
