//! Owns the attachments of programs to interfaces. Never leaves one behind: they are links held by
//! file descriptors, which the kernel detaches when the ring is dropped or the process dies.

use super::RingError;
use super::object::{Object, Program};
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

/// Attaches what `watch` asks for.
pub(super) fn attach(object: &mut Object, watch: &Watch) -> Result<Vec<Attachment>, RingError> {
    let ifindex = if_nametoindex(watch.interface.as_str())
        .map_err(|_| RingError::NoInterface(watch.interface.clone()))?;
    let mut attachments = Vec::new();
    let mut add = |(mode, fallback)| {
        attachments.push(Attachment {
            interface: watch.interface.clone(),
            ifindex,
            mode,
            fallback,
        });
    };
    if watch.ingress {
        add(ingress(object, &watch.interface)?);
    }
    if watch.egress {
        tcx(object, Program::TcxEgress, &watch.interface, TcAttachType::Egress)?;
        add((Mode::TcxEgress, String::new()));
    }
    Ok(attachments)
}

/// Native XDP, else generic XDP, else tcx; each step down is told with its reason.
fn ingress(object: &mut Object, interface: &str) -> Result<(Mode, String), RingError> {
    let mut reasons = String::new();
    for (mode, xdp_mode) in [(Mode::XdpNative, XdpMode::Driver), (Mode::XdpGeneric, XdpMode::Skb)] {
        let Err(error) = object.xdp(Program::Xdp)?.attach(interface, xdp_mode) else {
            warn_of_fallback(interface, mode, &reasons);
            return Ok((mode, reasons));
        };
        reasons.push_str(&format!("{mode:?}: {}; ", chain(&error)));
    }
    tcx(object, Program::TcxIngress, interface, TcAttachType::Ingress)?;
    warn_of_fallback(interface, Mode::TcxIngress, &reasons);
    Ok((Mode::TcxIngress, reasons))
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
) -> Result<(), RingError> {
    let hook = if program == Program::TcxEgress { "tcx egress" } else { "tcx ingress" };
    let failed = |source: ProgramError| RingError::Attach {
        hook,
        interface: interface.to_owned(),
        source: Box::new(source),
    };
    let classifier = object.classifier(program)?;
    classifier.attach(interface, side).map_err(failed)?;
    let id = classifier.info().map_err(failed)?.id();
    let (_, listed) = SchedClassifier::query_tcx(interface, side).map_err(failed)?;
    if listed.iter().any(|info| info.id() == id) {
        return Ok(());
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
