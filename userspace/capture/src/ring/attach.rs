//! Owns the attachments of programs to interfaces. Never leaves one behind: they are links held by
//! file descriptors, which the kernel detaches when the ring is dropped or the process dies.

use super::RingError;
use super::object::{Object, Program};
use aya::programs::tc::SchedClassifierLinkId;
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, XdpMode};
use nix::net::if_::if_nametoindex;

/// What to watch on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The interface's name.
    pub interface: String,
    /// What comes in.
    pub ingress: bool,
    /// What the gateway sends; needed where the gateway itself speaks the protocols.
    pub egress: bool,
}

impl Watch {
    /// Both directions of an interface.
    #[must_use]
    pub fn both(interface: impl Into<String>) -> Self {
        Self { interface: interface.into(), ingress: true, egress: true }
    }
}

/// How a program is attached, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the stack, after the packet's buffer was made: correct, but slower.
    XdpGeneric,
    /// tcx on ingress: also behind another XDP program.
    TcxIngress,
    /// tcx on egress.
    TcxEgress,
}

/// One attached program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// How.
    pub mode: Mode,
    /// Why it is not a cheaper mode; empty when it is the cheapest.
    pub fallback: String,
}

/// How the kernel knows an attachment; dropping the program detaches it as well.
enum Link {
    Xdp(XdpLinkId),
    Classifier(Program, SchedClassifierLinkId),
}

/// Everything that a ring has attached.
#[derive(Default)]
pub(super) struct Attachments {
    known: Vec<Attachment>,
    links: Vec<Link>,
}

impl Attachments {
    pub(super) fn list(&self) -> &[Attachment] {
        &self.known
    }

    /// Attaches what `watch` asks for, in place of what was attached to an interface of that name.
    pub(super) fn attach(&mut self, object: &mut Object, watch: &Watch) -> Result<(), RingError> {
        let ifindex = if_nametoindex(watch.interface.as_str())
            .map_err(|_| RingError::NoInterface(watch.interface.clone()))?;
        self.detach(object, &watch.interface)?;
        if watch.ingress {
            let (mode, fallback, link) = ingress(object, &watch.interface)?;
            self.add(watch, ifindex, mode, fallback, link);
        }
        if watch.egress {
            let link = tcx(object, Program::TcxEgress, &watch.interface, TcAttachType::Egress)?;
            self.add(watch, ifindex, Mode::TcxEgress, String::new(), link);
        }
        Ok(())
    }

    fn add(&mut self, watch: &Watch, ifindex: u32, mode: Mode, fallback: String, link: Link) {
        let interface = watch.interface.clone();
        self.known.push(Attachment { interface, ifindex, mode, fallback });
        self.links.push(link);
    }

    /// Detaches from an interface; one that has vanished took its attachments along.
    pub(super) fn detach(&mut self, object: &mut Object, interface: &str) -> Result<(), RingError> {
        while let Some(index) = self.known.iter().position(|known| known.interface == interface) {
            self.known.remove(index);
            let detached = match self.links.remove(index) {
                Link::Xdp(link) => object.xdp(Program::Xdp)?.detach(link),
                Link::Classifier(program, link) => object.classifier(program)?.detach(link),
            };
            if let Err(error) = detached {
                tracing::debug!(interface, %error, "attachment was gone already");
            }
        }
        Ok(())
    }
}

/// Native XDP, else generic XDP, else tcx; each step down is told with its reason.
fn ingress(object: &mut Object, interface: &str) -> Result<(Mode, String, Link), RingError> {
    let mut reasons = String::new();
    for (mode, xdp_mode) in [(Mode::XdpNative, XdpMode::Driver), (Mode::XdpGeneric, XdpMode::Skb)] {
        match object.xdp(Program::Xdp)?.attach(interface, xdp_mode) {
            Ok(link) => {
                warn_of_fallback(interface, mode, &reasons);
                return Ok((mode, reasons, Link::Xdp(link)));
            }
            Err(error) => reasons.push_str(&format!("{mode:?}: {}; ", chain(&error))),
        }
    }
    let link = tcx(object, Program::TcxIngress, interface, TcAttachType::Ingress)?;
    warn_of_fallback(interface, Mode::TcxIngress, &reasons);
    Ok((Mode::TcxIngress, reasons, link))
}

fn warn_of_fallback(interface: &str, mode: Mode, reasons: &str) {
    if !reasons.is_empty() {
        tracing::warn!(interface, ?mode, reasons, "native XDP cannot be had, using a slower mode");
    }
}

/// Attaches a tcx program and asks the kernel whether it stands in the interface's list.
fn tcx(
    object: &mut Object,
    program: Program,
    interface: &str,
    side: TcAttachType,
) -> Result<Link, RingError> {
    let hook = if program == Program::TcxEgress { "tcx egress" } else { "tcx ingress" };
    let failed = |source: ProgramError| RingError::Attach {
        hook,
        interface: interface.to_owned(),
        source: Box::new(source),
    };
    let classifier = object.classifier(program)?;
    let link = classifier.attach(interface, side).map_err(failed)?;
    let id = classifier.info().map_err(failed)?.id();
    let (_, listed) = SchedClassifier::query_tcx(interface, side).map_err(failed)?;
    if listed.iter().any(|info| info.id() == id) {
        return Ok(Link::Classifier(program, link));
    }
    Err(RingError::NotRunning { program: program.name(), interface: interface.to_owned() })
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
