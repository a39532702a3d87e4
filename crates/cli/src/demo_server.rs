//! The demo's page, served from inside a container by the very program that runs the cluster.
//!
//! It answers any request with one small page and closes; it is process 1 of its container, so it takes the signal
//! that asks it to end itself.

use anyhow::Result;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

const PORT: u16 = 8080;
/// The head of a request; what is longer is not read.
const HEAD_MOST: usize = 8 << 10;
/// A client that says nothing for so long is left.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        let mut terminate = signal(SignalKind::terminate())?;
        let page = page(|name| std::env::var(name).ok());
        println!("serving on port {PORT}");
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                accepted = listener.accept() => {
                    let (stream, peer) = accepted?;
                    let page = page.clone();
                    tokio::spawn(async move {
                        let served = tokio::time::timeout(PATIENCE, answer(stream, &page)).await;
                        if let Ok(Ok(line)) = served {
                            println!("{peer} {line}");
                        }
                    });
                }
            }
        }
    })
}

fn page(variable: impl Fn(&str) -> Option<String>) -> String {
    let word = |name: &str| variable(name).unwrap_or_else(|| "unknown".to_owned());
    let (pod, node, cluster) = (word("POD_NAME"), word("NODE_NAME"), word("CLUSTER_NAME"));
    format!(
        "Hello from pod {pod} on node {node} of cluster {cluster}\n\
         Ask again: the Service `demo` spreads requests over its pods.\n"
    )
}

async fn answer(mut stream: TcpStream, page: &str) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_MOST {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{page}",
        page.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_where_it_comes_from() {
        let page = page(|name| Some(name.to_lowercase()));
        let first = page.lines().next().unwrap();
        assert_eq!(first, "Hello from pod pod_name on node node_name of cluster cluster_name");
    }
}
