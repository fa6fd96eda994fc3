//! French or English: as the address says, else as the browser prefers, else French, the language of those who work with it.

use crate::lang::Lang;

/// The language for `?lang=` and `Accept-Language`.
pub(super) fn chosen(asked: Option<&str>, accepts: Option<&str>) -> Lang {
    match asked {
        Some("fr") => Lang::Fr,
        Some("en") => Lang::En,
        Some(_) | None => accepts.and_then(preferred).unwrap_or(Lang::Fr),
    }
}

/// The first of the two among those that are preferred most.
fn preferred(accepts: &str) -> Option<Lang> {
    let mut best: Option<(Lang, f32)> = None;
    for range in accepts.split(',') {
        let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
        let quality = parameters.trim().strip_prefix("q=").map_or(Some(1.0), |text| text.trim().parse().ok());
        let lang = match tag.trim().split('-').next() {
            Some(tag) if tag.eq_ignore_ascii_case("fr") => Lang::Fr,
            Some(tag) if tag.eq_ignore_ascii_case("en") => Lang::En,
            Some(_) | None => continue,
        };
        let quality: f32 = quality.unwrap_or(0.0);
        if quality > best.map_or(0.0, |(_, quality)| quality) {
            best = Some((lang, quality));
        }
    }
    best.map(|(lang, _)| lang)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_decides_then_the_browser_then_french() {
        assert_eq!(chosen(Some("en"), Some("fr")), Lang::En);
        assert_eq!(chosen(Some("xx"), Some("en-GB,fr;q=0.5")), Lang::En);
        for (accepts, lang) in [
            ("fr-ML,fr;q=0.9,en;q=0.8", Lang::Fr),
            ("de,en;q=0.7,fr;q=0.3", Lang::En),
            ("bm, en;q=0", Lang::Fr),
            ("*", Lang::Fr),
            ("en;q=much", Lang::Fr),
            (";;,,=", Lang::Fr),
        ] {
            assert_eq!(chosen(None, Some(accepts)), lang, "{accepts}");
        }
        assert_eq!(chosen(None, None), Lang::Fr);
    }
}
