//! The records of what Services have. An address is taken by its IPAddress object (KEP-1880), a port by a record that
//! says whose it is. Both are written, and go, in the transaction of the Service.

use super::Pools;
use crate::read::reader::Reader;
use crate::read::{convert, facets};
use crate::request::codec;
use skiff_api::Status;
use skiff_api::kind::Kind;
use skiff_api::object::Object;
use skiff_api::schema::emit;
use skiff_api::{apply, ip};
use skiff_base::World;
use skiff_json::Value;
use skiff_kinds::networking::ipaddress;
use skiff_store::{ListRequest, Record, Scope, Store, Write};
use std::net::IpAddr;
use std::sync::Arc;

/// Who writes these addresses, as `managedFields` tell it.
const MANAGER: &str = "kube-apiserver";
/// Where addresses were taken before there were IPAddress objects.
const BEFORE: &str = "ipallocations";
/// So many of those become objects in one transaction.
const AT_ONCE: usize = 32;

/// Something that a Service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taken {
    Address(IpAddr),
    Port(i64),
}

impl Taken {
    pub fn key(self) -> String {
        match self {
            Taken::Address(address) => address_key(&address.to_string()),
            Taken::Port(port) => super::port::key(port),
        }
    }
}

/// The key of an address, whoever has it.
pub fn address_key(address: &str) -> String {
    let canonical = ip::parse(address).map_or_else(|| address.to_owned(), |it| it.to_string());
    format!("{}.{}//{canonical}", ipaddress::RESOURCE.plural, ipaddress::RESOURCE.group)
}

fn kind(reader: &Reader) -> Result<Arc<Kind>, Status> {
    reader.kind(ipaddress::RESOURCE.group, ipaddress::RESOURCE.plural)
}

/// Takes something for a Service.
pub async fn take(
    reader: &Reader,
    world: &World,
    what: Taken,
    (namespace, name): (&str, &str),
) -> Result<Write, Status> {
    let Taken::Address(address) = what else {
        let owner = owner(namespace, name);
        return Ok(put(what.key(), owner.into(), 1, skiff_store::facets(Vec::new())));
    };
    let kind = kind(reader)?;
    let mut object = Object::new(ipaddress::of_service(address, namespace, name));
    complete(&kind, world, &mut object);
    let body = convert::body(reader, &kind, &object).await?;
    Ok(put(what.key(), body, kind.generation, facets::of(&kind, &object)))
}

/// What every new object gets from the server.
fn complete(kind: &Kind, world: &World, object: &mut Object) {
    let now = codec::time(world.now());
    object.set("metadata.uid", skiff_base::id::uuid(world));
    object.set("metadata.creationTimestamp", now.as_str());
    emit::emit(object.value_mut(), &kind.schema);
    let write = apply::Write {
        schema: &kind.schema,
        version: &kind.api_version(),
        subresource: "",
        manager: MANAGER,
        now: &now,
        reset: &apply::Set::default(),
        convert: None,
    };
    apply::update(&write, None, object.value_mut());
}

fn put(key: String, body: bytes::Bytes, generation: u32, facets: skiff_store::Facets) -> Write {
    Write::Put { key: key.into(), expect: None, body, generation, facets }
}

/// What the record of a port says.
fn owner(namespace: &str, name: &str) -> String {
    format!("{{\"service\":\"{namespace}/{name}\"}}")
}

/// Lets go of something, if it is this Service's: an address may be another's by now. One that finalizers hold is
/// going, as if somebody had deleted it.
pub async fn release(
    pools: &Pools,
    reader: &Reader,
    what: Taken,
    service: &str,
) -> Result<Option<Write>, Status> {
    let Some(record) = pools.store.get(&what.key()) else { return Ok(None) };
    let gone = Write::Delete { key: record.key.clone(), expect: record.revision, last: None };
    let Taken::Address(_) = what else { return Ok(Some(gone)) };
    if facets::value(&record, &service_facet()) != Some(service) {
        return Ok(None);
    }
    let kind = kind(reader)?;
    match convert::renewed(&kind, &record) {
        Ok(mut object) if object.finalizers().next().is_some() => {
            if object.deleting() {
                return Ok(None);
            }
            object.set("metadata.deletionTimestamp", codec::time(pools.world.now()));
            object.set("metadata.deletionGracePeriodSeconds", 0);
            let body = convert::body(reader, &kind, &object).await?;
            Ok(Some(Write::Put {
                key: record.key.clone(),
                expect: Some(record.revision),
                body,
                generation: kind.generation,
                facets: facets::of(&kind, &object),
            }))
        }
        _ => Ok(Some(gone)),
    }
}

fn service_facet() -> String {
    format!("f:{}", ipaddress::SERVICE_FACET)
}

/// What a Service has, by what lies there: for one that nobody can read.
pub async fn owned(pools: &Pools, namespace: &str, name: &str) -> Result<Vec<Taken>, Status> {
    let list = |request: ListRequest| async move {
        let listed = pools.store.list(request).await;
        listed.map_err(crate::read::read_error)
    };
    let facet = (service_facet().into(), format!("{namespace}/{name}").into());
    let addresses = ListRequest {
        scope: Scope::prefix(&address_key("")),
        facet: Some(facet),
        ..ListRequest::default()
    };
    let ports = ListRequest { scope: Scope::prefix("nodeports"), ..ListRequest::default() };
    let last = |record: &Record| record.key.rsplit('/').next().unwrap_or("").to_owned();
    let addresses = list(addresses).await?.records;
    let addresses = addresses.iter().filter_map(|it| last(it).parse().ok()).map(Taken::Address);
    let (ports, owner) = (list(ports).await?.records, owner(namespace, name));
    let ports = ports.iter().filter(|it| it.body == owner);
    let ports = ports.filter_map(|it| last(it).parse().ok()).map(Taken::Port);
    Ok(addresses.chain(ports).collect())
}

/// Makes objects of addresses that an older version took without any.
///
/// # Errors
/// Those of the store.
pub async fn migrate(store: &dyn Store, reader: &Reader, world: &World) -> Result<(), Status> {
    let asked = ListRequest { scope: Scope::prefix(BEFORE), ..ListRequest::default() };
    let listed = store.list(asked).await;
    let listed = listed.map_err(crate::read::read_error)?;
    for some in listed.records.chunks(AT_ONCE) {
        let mut writes = Vec::new();
        for record in some {
            let (key, expect) = (record.key.clone(), record.revision);
            writes.push(Write::Delete { key, expect, last: None });
            let Some((address, namespace, name)) = taken_before(record) else { continue };
            if store.get(&Taken::Address(address).key()).is_none() {
                let service = (&*namespace, &*name);
                writes.push(take(reader, world, Taken::Address(address), service).await?);
            }
        }
        store.commit(writes).await.map_err(|error| crate::write::commit_refusal(&error))?;
    }
    Ok(())
}

fn taken_before(record: &Record) -> Option<(IpAddr, String, String)> {
    let address = record.key.rsplit('/').next()?.parse().ok()?;
    let owner: Value = skiff_json::from_slice(&record.body).ok()?;
    let (namespace, name) = owner.get("service")?.as_str()?.split_once('/')?;
    Some((address, namespace.to_owned(), name.to_owned()))
}
