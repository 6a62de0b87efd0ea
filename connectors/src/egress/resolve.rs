//! From names to addresses that may be connected to, and the connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cpd_connector_api::BoxFuture;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::TcpStream;

use super::host::Host;
use super::proxy::Hosts;
use super::{Admitted, Egress, Refused};

/// Looks names up.
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of a name, the best first.
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The machine's own way: `/etc/hosts`, DNS, and what else it is set up for.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|a| a.ip()).collect()) })
    }
}

/// Why there is no address, or no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may not be reached.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It cannot be.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Egress {
    /// Where an admitted host is, as far as it may be reached there.
    ///
    /// # Errors
    /// If it is nowhere, or only where it may not be reached.
    pub async fn addresses(&self, admitted: &Admitted) -> Result<Vec<SocketAddr>, Error> {
        let Admitted { host, port, vouched } = admitted;
        let name = match host {
            // It was checked when it was admitted.
            Host::Address(address) => return Ok(vec![SocketAddr::new(*address, *port)]),
            Host::Name(name) => name,
        };
        let found = self.0.resolver.resolve(name).await?;
        let mut refusal = None;
        let mut good = Vec::with_capacity(found.len());
        for address in found {
            match self.0.rules.as_ref().map_or(Ok(()), |rules| rules.address(address, *port, *vouched)) {
                Ok(()) => good.push(SocketAddr::new(address, *port)),
                Err(why) => refusal = refusal.or(Some(why)),
            }
        }
        match refusal {
            Some(why) if good.is_empty() => Err(Refused { host: name.clone(), port: *port, why }.into()),
            None if good.is_empty() => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address").into()),
            Some(_) | None => Ok(good),
        }
    }

    /// Connects to a host, at the first of its allowed addresses that answers.
    ///
    /// # Errors
    /// If it may not be reached, or is not.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let addresses = self.addresses(&self.admit(host, port)?).await?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(e) => last = e,
            }
        }
        Err(last.into())
    }

    /// The lookup for an HTTP client whose requests go to that port, or to one between which the rules make no difference.
    pub fn dns(&self, port: u16) -> Arc<dyn Resolve> {
        Arc::new(Dns { egress: self.clone(), port, proxies: None })
    }

    /// The same for a client that reaches its proxies by it, too.
    pub(super) fn dns_with(&self, port: u16, proxies: Hosts) -> Arc<dyn Resolve> {
        Arc::new(Dns { egress: self.clone(), port, proxies: Some(proxies) })
    }
}

struct Dns {
    egress: Egress,
    port: u16,
    proxies: Option<Hosts>,
}

impl Resolve for Dns {
    fn resolve(&self, name: Name) -> Resolving {
        let operators = self.proxies.as_ref().is_some_and(|known| Mutex::lock(known).contains(name.as_str()));
        let egress = if operators { Egress::open() } else { self.egress.clone() };
        let port = self.port;
        Box::pin(async move {
            let admitted = egress.admit(name.as_str(), port)?;
            // Port 0 is filled in by the client.
            // A refusal is found again by its type, below the errors that the client puts around it.
            let found = egress.addresses(&admitted).await.map_err(|e| match e {
                Error::Refused(refused) => Box::<dyn std::error::Error + Send + Sync>::from(refused),
                Error::Io(e) => e.into(),
            })?;
            let addresses: Vec<_> = found.into_iter().map(|a| SocketAddr::new(a.ip(), 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
