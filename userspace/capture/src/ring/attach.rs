//! Owns the attachments of programs to interfaces. Never leaves one behind: they are links held by
//! file descriptors, which the kernel detaches when the ring is dropped or the process dies.

use super::RingError;
use super::object::{Object, Program};
use crate::reason;
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
    /// How XDP is attached for what comes in.
    pub xdp: XdpPolicy,
}

/// How XDP is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum XdpPolicy {
    /// In the driver, else in the stack, else tcx; each step down is told.
    #[default]
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the stack or not at all.
    Generic,
    /// The classifier on the card, which counts there, and [`XdpPolicy::Auto`] on the host for all
    /// else. A card that refuses is told, and leaves the host's part as it is.
    Offload,
}

impl Watch {
    /// Both directions of an interface.
    #[must_use]
    pub fn both(interface: impl Into<String>) -> Self {
        Self { interface: interface.into(), ingress: true, egress: true, xdp: XdpPolicy::Auto }
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
    /// The classifier on the card: it only counts, beside a program on the host.
    XdpOffload,
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
    Xdp(Program, XdpLinkId),
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

    /// Attaches what `watch` asks for, in place of what was attached to an interface of that name;
    /// all of it or nothing.
    pub(super) fn attach(&mut self, object: &mut Object, watch: &Watch) -> Result<(), RingError> {
        let ifindex = if_nametoindex(watch.interface.as_str())
            .map_err(|_| RingError::NoInterface(watch.interface.clone()))?;
        self.detach(object, &watch.interface)?;
        let attached = self.attach_all(object, watch, ifindex);
        if attached.is_err() {
            self.detach(object, &watch.interface)?;
        }
        attached
    }

    fn attach_all(
        &mut self,
        object: &mut Object,
        watch: &Watch,
        ifindex: u32,
    ) -> Result<(), RingError> {
        let mut refused = String::new();
        if watch.ingress && watch.xdp == XdpPolicy::Offload {
            match offload(object, ifindex)? {
                Ok(link) => {
                    self.add(&watch.interface, ifindex, Mode::XdpOffload, String::new(), link)
                }
                Err(reason) => {
                    let interface = watch.interface.as_str();
                    tracing::warn!(interface, reason, "the card takes no program, using the host");
                    refused = format!("{:?}: {reason}; ", Mode::XdpOffload);
                }
            }
        }
        if watch.ingress {
            let (mode, fallback, link) = ingress(object, &watch.interface, watch.xdp)?;
            self.add(&watch.interface, ifindex, mode, refused + &fallback, link);
        }
        if watch.egress {
            self.attach_egress(object, &watch.interface, ifindex)?;
        }
        Ok(())
    }

    fn attach_egress(
        &mut self,
        object: &mut Object,
        interface: &str,
        ifindex: u32,
    ) -> Result<(), RingError> {
        let link = tcx(object, Program::TcxEgress, interface, TcAttachType::Egress)?;
        self.add(interface, ifindex, Mode::TcxEgress, String::new(), link);
        Ok(())
    }

    /// Attaches the program on egress of an interface that has attachments, or detaches it.
    pub(super) fn egress(
        &mut self,
        object: &mut Object,
        ifindex: u32,
        wanted: bool,
    ) -> Result<(), RingError> {
        let on = |known: &Attachment| known.ifindex == ifindex;
        let leaving = |known: &Attachment| on(known) && known.mode == Mode::TcxEgress;
        if !wanted {
            return self.detach_where(object, leaving);
        }
        if self.known.iter().any(leaving) {
            return Ok(());
        }
        match self.known.iter().find(|known| on(known)).map(|known| known.interface.clone()) {
            Some(interface) => self.attach_egress(object, &interface, ifindex),
            None => Ok(()),
        }
    }

    /// The interface of this index has another name now; what is attached to it stays.
    pub(super) fn rename(&mut self, ifindex: u32, name: &str) {
        for known in self.known.iter_mut().filter(|known| known.ifindex == ifindex) {
            name.clone_into(&mut known.interface);
        }
    }

    fn add(&mut self, interface: &str, ifindex: u32, mode: Mode, fallback: String, link: Link) {
        let interface = interface.to_owned();
        self.known.push(Attachment { interface, ifindex, mode, fallback });
        self.links.push(link);
    }

    /// Detaches from an interface; one that has vanished took its attachments along.
    pub(super) fn detach(&mut self, object: &mut Object, interface: &str) -> Result<(), RingError> {
        self.detach_where(object, |known| known.interface == interface)
    }

    /// Detaches from the interface of this index, whatever its name.
    pub(super) fn forget(&mut self, object: &mut Object, ifindex: u32) -> Result<(), RingError> {
        self.detach_where(object, |known| known.ifindex == ifindex)
    }

    fn detach_where(
        &mut self,
        object: &mut Object,
        which: impl Fn(&Attachment) -> bool,
    ) -> Result<(), RingError> {
        while let Some(index) = self.known.iter().position(&which) {
            let known = self.known.remove(index);
            let detached = match self.links.remove(index) {
                Link::Xdp(program, link) => object.xdp(program)?.detach(link),
                Link::Classifier(program, link) => object.classifier(program)?.detach(link),
            };
            if let Err(error) = detached {
                tracing::debug!(interface = known.interface, %error, "attachment was gone already");
            }
        }
        Ok(())
    }
}

/// Native XDP, else generic XDP, else tcx, as far as `policy` allows; each step down is told with
/// its reason.
fn ingress(
    object: &mut Object,
    interface: &str,
    policy: XdpPolicy,
) -> Result<(Mode, String, Link), RingError> {
    const NATIVE: (Mode, XdpMode, &str) = (Mode::XdpNative, XdpMode::Driver, "native XDP");
    const GENERIC: (Mode, XdpMode, &str) = (Mode::XdpGeneric, XdpMode::Skb, "generic XDP");
    let (modes, strict): (&[_], bool) = match policy {
        XdpPolicy::Native => (&[NATIVE], true),
        XdpPolicy::Generic => (&[GENERIC], true),
        XdpPolicy::Auto | XdpPolicy::Offload => (&[NATIVE, GENERIC], false),
    };
    let mut reasons = String::new();
    for &(mode, xdp_mode, hook) in modes {
        match object.xdp(Program::Xdp)?.attach(interface, xdp_mode) {
            Ok(link) => {
                warn_of_fallback(interface, mode, &reasons);
                return Ok((mode, reasons, Link::Xdp(Program::Xdp, link)));
            }
            Err(source) if strict => {
                let (interface, source) = (interface.to_owned(), Box::new(source));
                return Err(RingError::Attach { hook, interface, source });
            }
            Err(error) => reasons.push_str(&format!("{mode:?}: {}; ", reason(&error))),
        }
    }
    let link = tcx(object, Program::TcxIngress, interface, TcAttachType::Ingress)?;
    warn_of_fallback(interface, Mode::TcxIngress, &reasons);
    Ok((Mode::TcxIngress, reasons, link))
}

/// Puts the classifier on the card; the inner error is the card's or the kernel's refusal.
fn offload(object: &mut Object, ifindex: u32) -> Result<Result<Link, String>, RingError> {
    object.load_program(Program::Classify)?;
    let classifier = object.xdp(Program::Classify)?;
    let attached = classifier.attach_to_if_index(ifindex, XdpMode::Hardware);
    Ok(attached.map(|link| Link::Xdp(Program::Classify, link)).map_err(|error| reason(&error)))
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
