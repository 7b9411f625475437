//! Where the two networks meet: `edgelore serve` in a namespace of its own, on a management network
//! that no routing protocol knows.

use anyhow::{Context, Result, anyhow};
use edgelore_testkit::lab::Network;
use edgelore_testkit::{NetNs, Process, veth, wait_for_some};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ADDRESS: &str = "10.99.0.1";
const PORT: u16 = 7171;
const START_DEADLINE: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);

/// The running store.
#[derive(Debug)]
pub(crate) struct Hub {
    // Dropped in order: the server before its namespace.
    server: Process,
    namespace: NetNs,
    token: PathBuf,
}

impl Hub {
    /// Links the gateways to a hub, starts the store there, and waits until it answers.
    pub(crate) fn start(binary: &Path, directory: &Path, networks: &[&Network]) -> Result<Self> {
        let namespace = NetNs::new("hub")?;
        namespace.ip(&format!("addr add {ADDRESS}/32 dev lo"))?;
        for network in networks {
            link(&namespace, network)?;
        }
        let token = write_token(directory)?;
        let mut command = namespace.command(&binary.display().to_string());
        command.args(["serve", "--listen", &format!("{ADDRESS}:{PORT}"), "--store"]);
        command.arg(directory.join("store")).arg("--token-file").arg(&token);
        let server = Process::spawn("edgelore serve", &mut command, &directory.join("hub.log"))?;
        let mut hub = Self { server, namespace, token };
        hub.await_answer()?;
        Ok(hub)
    }

    fn await_answer(&mut self) -> Result<()> {
        let address: SocketAddr =
            format!("{ADDRESS}:{PORT}").parse().context("read the address")?;
        let server = &mut self.server;
        let waited = self.namespace.run(|| {
            wait_for_some(START_DEADLINE, "start of edgelore serve", || {
                if let Some(status) = server.exited() {
                    return Some(Err(anyhow!("edgelore serve ended: {status}")));
                }
                TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok().then_some(Ok(()))
            })?
        });
        waited.with_context(|| format!("edgelore serve said:\n{}", self.server.log_tail()))
    }

    /// The store's URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{ADDRESS}:{PORT}")
    }

    /// The file with the bearer token.
    pub(crate) fn token_file(&self) -> &Path {
        &self.token
    }
}

/// A veth from the gateway to the hub, 10.99.`index`.0/24.
fn link(hub: &NetNs, network: &Network) -> Result<()> {
    let index = network.site().index;
    let end = format!("net{index}");
    veth((hub, &end), (network.gateway(), "mgmt0"))?;
    hub.ip(&format!("addr add 10.99.{index}.1/24 dev {end}"))?;
    network.gateway().ip(&format!(
        "addr add 10.99.{index}.2/24 dev mgmt0\nroute add {ADDRESS}/32 via 10.99.{index}.1"
    ))
}

fn write_token(directory: &Path) -> Result<PathBuf> {
    use std::io::{Read, Write};
    let mut random = [0u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .context("read random bytes")?;
    let path = directory.join("token");
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
