//! skiff: all of Kubernetes in one program. This file only says which command leads where.

mod assemble;
mod bootstrap;
mod node;

use anyhow::Result;
use assemble::{Machine, Settings};
use clap::{Parser, Subcommand};
use skiff_base::World;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "skiff", version, about = "All of Kubernetes in one program")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the cluster's daemon in the foreground
    Server {
        /// The folder that holds everything of the cluster
        #[arg(long, default_value = "/var/lib/skiff")]
        data: PathBuf,
        /// The address that the API listens on
        #[arg(long, default_value = "127.0.0.1:6443")]
        listen: SocketAddr,
        /// The name of this machine's node
        #[arg(long, default_value = "skiff")]
        node: String,
        /// The cgroup that those of pods are below
        #[arg(long, default_value = "skiff")]
        cgroup: String,
    },
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = skiff_runtime::reexec(&args) {
        std::process::exit(code);
    }
    match Cli::parse().command {
        Command::Server { data, listen, node, cgroup } => {
            serve(Settings { data, listen, node, cgroup })
        }
    }
}

fn serve(settings: Settings) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SKIFF_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        std::fs::create_dir_all(&settings.data)?;
        let machine = Machine::start(&settings, World::real()).await?;
        tracing::info!(listen = %settings.listen, "the API answers");
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => {}
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        machine.stop().await;
        Ok(())
    })
}
