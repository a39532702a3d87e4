use super::*;
use crate::zone::entry;
use expect_test::{Expect, expect};
use hickory_proto::op::MessageType;
use skiff_api::view::Key;
use skiff_json::{Value, json};
use std::sync::Arc;

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", "10.96.0.10".parse().ok());
    let mut add = |name: &str, spec: Value, slices: Vec<Value>| {
        let slices = slices.into_iter().map(|s| Arc::new(skiff_json::from_value(s).unwrap()));
        let slices: Vec<_> = slices.collect();
        let service = skiff_json::from_value(json!({"spec": spec})).unwrap();
        zone.set(&Key::new("d", name), Some(entry(&service, &slices)));
    };
    let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    add("web", json!({"type": "ClusterIP", "clusterIP": "10.96.0.7", "ports": ports}), vec![]);
    let slice = json!({"ports": [{"name": "db", "port": 5432}],
        "endpoints": [{"addresses": ["10.0.0.2"], "hostname": "db-0"}]});
    add("db", json!({"type": "ClusterIP", "clusterIP": "None"}), vec![slice]);
    add("out", json!({"type": "ExternalName", "externalName": "example.com"}), vec![]);
    let inside = "web.d.svc.cluster.local";
    add("in", json!({"type": "ExternalName", "externalName": inside}), vec![]);
    let circle = "circle.d.svc.cluster.local";
    add("circle", json!({"type": "ExternalName", "externalName": circle}), vec![]);
    zone
}

fn check(name: &str, type_: RecordType, expected: Expect) {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), type_));
    let out = match answer(&query, Some(&zone())) {
        Outcome::Forward => "forward\n".to_owned(),
        Outcome::Chase(reply, name) => format!("{}then {name}\n", show(&reply)),
        Outcome::Answer(reply) => show(&reply),
    };
    expected.assert_eq(&out);
}

fn show(reply: &Message) -> String {
    let mut out = format!("{:?}\n", reply.metadata.response_code);
    for (place, records) in
        [("", &reply.answers), ("authority ", &reply.authorities), ("more ", &reply.additionals)]
    {
        for record in records {
            out += &format!("{place}{} {} {}\n", record.name, record.record_type(), record.data);
        }
    }
    out
}

#[test]
fn names_keep_the_case_in_which_they_were_asked() {
    check(
        "wEb.D.svc.CLUSTER.local.",
        RecordType::A,
        expect![[r#"
        NoError
        wEb.D.svc.CLUSTER.local. A 10.96.0.7
    "#]],
    );
}

#[test]
fn a_name_without_such_records_is_no_missing_name() {
    check(
        "web.d.svc.cluster.local.",
        RecordType::AAAA,
        expect![[r#"
        NoError
        authority cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5
    "#]],
    );
    check(
        "web.d.svc.cluster.local.d.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NXDomain
        authority cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5
    "#]],
    );
}

#[test]
fn services_are_found_with_the_addresses_of_their_targets() {
    check(
        "_db._tcp.db.d.svc.cluster.local.",
        RecordType::SRV,
        expect![[r#"
        NoError
        _db._tcp.db.d.svc.cluster.local. SRV 0 100 5432 db-0.db.d.svc.cluster.local.
        more db-0.db.d.svc.cluster.local. A 10.0.0.2
    "#]],
    );
    check(
        "7.0.96.10.in-addr.arpa.",
        RecordType::PTR,
        expect![[r#"
        NoError
        7.0.96.10.in-addr.arpa. PTR web.d.svc.cluster.local.
    "#]],
    );
}

#[test]
fn aliases_are_followed() {
    check(
        "in.d.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NoError
        in.d.svc.cluster.local. CNAME web.d.svc.cluster.local.
        web.d.svc.cluster.local. A 10.96.0.7
    "#]],
    );
    check(
        "out.d.svc.cluster.local.",
        RecordType::A,
        expect![[r#"
        NoError
        out.d.svc.cluster.local. CNAME example.com.
        then example.com.
    "#]],
    );
    check(
        "out.d.svc.cluster.local.",
        RecordType::CNAME,
        expect![[r#"
        NoError
        out.d.svc.cluster.local. CNAME example.com.
    "#]],
    );
}

#[test]
fn the_zone_says_who_serves_it() {
    check(
        "cluster.local.",
        RecordType::NS,
        expect![[r#"
        NoError
        cluster.local. NS ns.dns.cluster.local.
    "#]],
    );
    check(
        "cluster.local.",
        RecordType::SOA,
        expect![[r#"
        NoError
        cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5
    "#]],
    );
    check(
        "kubernetes.io.",
        RecordType::A,
        expect![[r#"
        forward
    "#]],
    );
}

#[test]
fn a_circle_of_aliases_ends() {
    let mut query = Message::new(7, MessageType::Query, OpCode::Query);
    let name = Name::from_ascii("circle.d.svc.cluster.local.").unwrap();
    query.add_query(Query::query(name, RecordType::A));
    let Outcome::Answer(reply) = answer(&query, Some(&zone())) else { panic!("no answer") };
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(reply.answers.len() <= ALIASES_MOST);
}
