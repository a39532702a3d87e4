//! The node itself behind its API. Never here: HTTP.

use super::{Doors, Place, Run, Runtime, Text};
use crate::logs::Options;
use crate::pod::adopt::{POD_NAME, POD_NAMESPACE};
use crate::rim::Rim;
use crate::streams::{Streams, Target, Which};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Method;
use skiff_api::view::{Key, View};
use skiff_api::wire::{Body, Payload};
use skiff_kinds::views::Pod;
use skiff_net::NetNs;
use skiff_runtime::Error;
use skiff_runtime::client::{Attach, Exec};
use skiff_runtime::spec::{AttachSpec, ExecSpec, TtySize};
use skiff_runtime::status::{Exit, SandboxStatus};
use std::sync::Arc;

/// The doors of one node.
pub struct NodeDoors {
    rim: Arc<Rim>,
    streams: Streams,
}

impl NodeDoors {
    pub(crate) fn new(rim: Arc<Rim>) -> NodeDoors {
        NodeDoors { streams: Streams::new(rim.clone()), rim }
    }
}

fn target(place: &Place) -> Target {
    let Place { namespace, pod, container } = place.clone();
    Target { namespace, pod, container }
}

impl Doors for NodeDoors {
    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.rim.caches.of::<Pod>().get(&Key::new(namespace, name))
    }

    fn pods(&self) -> BoxFuture<'static, Result<Bytes, String>> {
        let rim = self.rim.clone();
        Box::pin(async move {
            let query = format!("fieldSelector=spec.nodeName%3D{}", rim.config.name);
            let path = Pod::RESOURCE.path("", "", "");
            let answer = rim.client.send(Method::GET, &path, &query, "", Payload::None).await;
            let list = match answer.map_err(|status| status.to_string())?.body {
                Body::List(list) => list,
                Body::Bytes(bytes) => return Ok(bytes),
                _ => return Err("the API answered with no list".to_owned()),
            };
            let mut out =
                b"{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[".to_vec();
            for (at, item) in list.each().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                item.write_item(&mut out);
            }
            out.extend_from_slice(b"]}\n");
            Ok(out.into())
        })
    }

    fn exec(&self, place: &Place, spec: &ExecSpec) -> Runtime<Exec> {
        let (streams, target, spec) = (self.streams.clone(), target(place), spec.clone());
        Box::pin(async move { streams.exec(&target, &spec).await })
    }

    fn wait_exec(&self, exec: &str) -> Runtime<Exit> {
        let (streams, exec) = (self.streams.clone(), exec.to_owned());
        Box::pin(async move { streams.wait_exec(&exec).await })
    }

    fn attach(&self, place: &Place, spec: AttachSpec) -> Runtime<(String, Attach)> {
        let (streams, target) = (self.streams.clone(), target(place));
        Box::pin(async move { streams.attach(&target, spec).await })
    }

    fn resize(&self, id: &str, size: TtySize) -> Runtime<()> {
        let (streams, id) = (self.streams.clone(), id.to_owned());
        Box::pin(async move { streams.resize(&id, size).await })
    }

    fn wait(&self, id: &str) -> Runtime<()> {
        let (streams, id) = (self.streams.clone(), id.to_owned());
        Box::pin(async move { streams.wait(&id).await.map(|_| ()) })
    }

    fn log(&self, place: &Place, uid: &str, run: Run, options: Options) -> Runtime<Option<Text>> {
        let which = match run {
            Run::Newest => Which::Newest,
            Run::Previous => Which::Previous,
        };
        let (streams, target, uid) = (self.streams.clone(), target(place), uid.to_owned());
        Box::pin(async move { streams.read_log(&target, &uid, which, options).await })
    }

    fn network(&self, namespace: &str, pod: &str) -> Runtime<NetNs> {
        let host = self.pod(namespace, pod).is_some_and(|pod| pod.spec.host_network);
        let (rim, namespace, pod) = (self.rim.clone(), namespace.to_owned(), pod.to_owned());
        Box::pin(async move {
            let opened = if host {
                NetNs::current()
            } else {
                let is = |it: &SandboxStatus| {
                    let label = |key: &str| it.labels.get(key);
                    it.ready
                        && label(POD_NAMESPACE) == Some(&namespace)
                        && label(POD_NAME) == Some(&pod)
                };
                let sandboxes = rim.runtime.list().await?.sandboxes;
                let path = sandboxes.into_iter().find(is).and_then(|it| it.netns);
                let missing = || Error::NotFound(format!("the network of pod {namespace}/{pod}"));
                NetNs::open(path.ok_or_else(missing)?)
            };
            opened.map_err(|error| Error::System(error.to_string()))
        })
    }
}
