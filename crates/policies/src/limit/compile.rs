//! From what is written to what runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::TimeZone;
use tollgate_core::counters::{Amount, Limit, WhenAlone};
use tollgate_core::diagnostic::Diagnostic;
use tollgate_core::node::Spanned;
use tollgate_core::policy::{BuildCx, Policy, Stage};
use tollgate_expr::Term;

use super::rate::{Rate, Window};
use super::run::{Costs, Counted, Limiting};
use super::told::Told;
use super::{Cost, OnStoreDown, OneLimit};
use crate::kit::key::Part;
use crate::kit::limits::{self, Whom};

/// Numbers of limits.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Makes the policy of a limit.
pub(super) fn policy(limit: Spanned<OneLimit>, cx: &BuildCx<'_>) -> Result<(Stage, Arc<dyn Policy>), Diagnostic> {
    let Spanned { value: limit, span } = limit;
    let zone = zone(&limit)?;
    fits(&limit)?;
    let per = limits::parts(limit.per.as_ref(), cx)?;
    let mut is_about_caller = per.iter().any(Part::is_about_the_caller) || limit.consumers.is_some();
    let except = limits::exception(limit.except.as_ref(), &mut is_about_caller)?;
    let cost = match &limit.cost {
        None => Costs::Fixed(1),
        Some(Spanned { value: Cost::Fixed(cost), .. }) => Costs::Fixed(*cost),
        Some(Spanned { value: Cost::Told(text), span }) => {
            let text = Spanned::new(text.clone(), span);
            Costs::Told(limits::either(&text, &mut is_about_caller, Term::number_of)?)
        }
    };
    let name: Arc<str> = limits::name(limit.name.as_ref(), written(&limit), &span)?.into();
    let id = format!("{}|{}", limits::scope(cx), keys(&limit));
    let alone = match limit.on_store_down {
        OnStoreDown::Share => WhenAlone::Share,
        OnStoreDown::Allow => WhenAlone::Allow,
        OnStoreDown::Refuse => WhenAlone::Refuse,
    };
    let counted = |id: &str, rate: &Rate, burst: u32| {
        let amount = amount(rate, burst, limit.exact, &zone);
        let seconds = rate.window.seconds();
        let limit = Limit { id: format!("{id}|{}", rate.window), amount, alone };
        let counter = cx.sources.counters.as_ref().map(|counters| counters.counter(&limit));
        Counted { counter, told: Told::new(&name, rate.count, seconds) }
    };
    let burst = limit.burst.as_ref().and_then(|burst| u32::try_from(burst.value.get()).ok());
    let usual = counted(&id, &limit.rate.value, burst.unwrap_or(limit.rate.value.count));
    let own: HashMap<Box<str>, Option<Counted>> = limit
        .consumers
        .iter()
        .flat_map(|all| &all.0)
        .map(|(consumer, rate)| {
            let own = rate.0.as_ref().map(|rate| counted(&format!("{id}|{consumer}"), rate, rate.count));
            (consumer.as_str().into(), own)
        })
        .collect();
    let what = describe(&limit, &name, cx);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let (is_shadow, headers) = (limit.shadow, limit.headers);
    let whom = Whom { usual, own, per, except };
    let limiting = Limiting { number, name, what, whom, cost, is_shadow, headers };
    Ok((if is_about_caller { Stage::Quota } else { Stage::Edge }, Arc::new(limiting)))
}

/// What makes no sense together.
fn fits(limit: &OneLimit) -> Result<(), Diagnostic> {
    let is_calendar = matches!(limit.rate.value.window, Window::Each(_));
    if let Some(zone) = limit.zone.as_ref().filter(|_| !is_calendar) {
        let mistake = Diagnostic::error(format!("`{}` is as long everywhere", limit.rate.value)).at(&zone.span);
        return Err(mistake.hint("a zone is for `/day`, `/week` and `/month`"));
    }
    if let Some(burst) = limit.burst.as_ref().filter(|_| is_calendar || limit.exact) {
        let mistake = Diagnostic::error("this is no bucket: how many may come at once is its number").at(&burst.span);
        return Err(mistake.hint("leave `burst` out, or `exact`"));
    }
    if limit.exact && is_calendar {
        let mistake = Diagnostic::error(format!("`{}` is exact already", limit.rate.value)).at(&limit.rate.span);
        return Err(mistake.hint("leave `exact` out"));
    }
    let most = limit.burst.as_ref().map_or(u64::from(limit.rate.value.count), |burst| burst.value.get());
    if let Some(Spanned { value: Cost::Fixed(cost), span }) =
        limit.cost.as_ref().filter(|cost| matches!(cost.value, Cost::Fixed(cost) if u64::from(cost) > most))
    {
        let mistake = Diagnostic::error(format!("a request that takes {cost} of {most} never passes")).at(span);
        return Err(mistake.hint("a smaller `cost`, or a larger `burst`"));
    }
    Ok(())
}

fn zone(limit: &OneLimit) -> Result<TimeZone, Diagnostic> {
    let Some(zone) = &limit.zone else { return Ok(TimeZone::UTC) };
    TimeZone::get(&zone.value).map_err(|_| {
        let mistake = Diagnostic::error(format!("`{}` is no time zone", zone.value)).at(&zone.span);
        mistake.hint("as IANA calls them: `Europe/Berlin`, `America/New_York`, `UTC`")
    })
}

fn amount(rate: &Rate, burst: u32, exact: bool, zone: &TimeZone) -> Amount {
    match rate.window {
        Window::Each(each) => Amount::Calendar { count: rate.count, each, zone: zone.clone() },
        window if exact => Amount::Sliding { count: rate.count, period: window.length() },
        window => Amount::Bucket { count: rate.count, period: window.length(), burst },
    }
}

/// What tells it from other limits of its place.
fn keys(limit: &OneLimit) -> String {
    let per = limit.per.iter().flatten().map(|part| part.value.trim());
    let exact = if limit.exact { " exact" } else { "" };
    let zone = limit.zone.as_ref().map_or("", |zone| &zone.value);
    let name = limit.name.as_ref().map_or("", |name| &name.value);
    format!("{}{exact} {zone} {name}", per.collect::<Vec<_>>().join(" and "))
}

/// The limit in its short form, as far as that says it.
fn written(limit: &OneLimit) -> String {
    let mut text = format!("{}{}", limit.rate.value, limits::per(limit.per.as_ref()));
    if let Some(burst) = &limit.burst {
        text = format!("{text} burst {}", burst.value.get());
    }
    if limit.exact {
        text.push_str(" exact");
    }
    if let Some(zone) = &limit.zone {
        text = format!("{text} in {}", zone.value);
    }
    text
}

fn describe(limit: &OneLimit, name: &str, cx: &BuildCx<'_>) -> String {
    let mut text = written(limit);
    if *text != *name {
        text = format!("{name}: {text}");
    }
    text.push_str(&limits::over(cx));
    match &limit.cost {
        Some(Spanned { value: Cost::Fixed(cost), .. }) => text = format!("{text}, each takes {cost}"),
        Some(Spanned { value: Cost::Told(cost), .. }) => text = format!("{text}, each takes {cost}"),
        None => {}
    }
    for (consumer, rate) in limit.consumers.iter().flat_map(|all| &all.0) {
        let rate = rate.0.map_or_else(|| "none".to_owned(), |rate| rate.to_string());
        text = format!("{text}, {consumer} {rate}");
    }
    if let Some(except) = &limit.except {
        text = format!("{text}, except if {}", except.value);
    }
    if limit.shadow {
        text.push_str(" (shadow: refuses nobody)");
    }
    text
}
