//! Notices as an administration in Mali would send them. Names are made up; the codes follow the form of the budget
//! nomenclature, which is the place to look for the right ones.

use serde::Serialize;

/// How many notices the play sends.
pub(super) const COUNT: usize = SAMPLES.len();
/// Place in [`all`] of the notice for a structure that TresorPay does not know.
pub(super) const UNKNOWN_STRUCTURE: usize = 8;
/// Place in [`all`] of the notice whose answer is lost.
pub(super) const LOST_ANSWER: usize = 11;
/// A code that the simulator has no registration for.
const NOT_REGISTERED: &str = "STR-KAYES";
/// The first number of a reference.
const FIRST_NUMBER: usize = 101;

/// One row of `outbox`, as the application has it before the INSERT.
#[derive(Debug, Clone)]
pub(super) struct Notice {
    pub(super) reference: String,
    /// `None`: the configured one.
    pub(super) code_structure: Option<&'static str>,
    /// XOF.
    pub(super) net_total: i64,
    pub(super) tax_payer: TaxPayer,
    pub(super) items: Vec<Item>,
}

/// Who owes it, with TresorPay's field names.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub(super) enum TaxPayer {
    /// A person: family name, first name, phone number as it was typed.
    #[serde(rename_all = "camelCase")]
    Person { name: &'static str, first_name: &'static str, phone_number: &'static str },
    /// A company and its tax identification number.
    #[serde(rename_all = "camelCase")]
    Company { company_name: &'static str, nif: &'static str },
}

/// What for, with TresorPay's field names.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    pub(super) name: &'static str,
    pub(super) quantity: i64,
    pub(super) unit_price: i64,
    pub(super) code_nature_recette: &'static str,
}

/// A kind of revenue.
struct Revenue {
    prefix: &'static str,
    name: &'static str,
    code: &'static str,
}

const PATENTE: Revenue = Revenue { prefix: "PATENTE", name: "Contribution des patentes", code: "71531" };
const VIGNETTE: Revenue = Revenue { prefix: "VIGNETTE", name: "Vignette automobile", code: "71542" };
const FONCIER: Revenue = Revenue { prefix: "FONCIER", name: "Taxe foncière", code: "71311" };
const AMENDE: Revenue = Revenue { prefix: "AMENDE", name: "Amende forfaitaire", code: "72311" };
const PERMIS: Revenue = Revenue { prefix: "PERMIS", name: "Permis de construire", code: "72214" };
const CARTE: Revenue = Revenue { prefix: "CARTE", name: "Carte grise", code: "72221" };
const TIMBRE: Revenue = Revenue { prefix: "TIMBRE", name: "Droit de timbre", code: "71621" };
const DOMAINE: Revenue = Revenue { prefix: "DOMAINE", name: "Redevance domaniale", code: "72121" };
/// What a building permit costs beside the permit.
const FILE_FEE: Item =
    Item { name: "Frais de dossier", quantity: 1, unit_price: 5_000, code_nature_recette: "72215" };

type Sample = (&'static Revenue, TaxPayer, i64, i64);

const fn person(name: &'static str, first_name: &'static str, phone_number: &'static str) -> TaxPayer {
    TaxPayer::Person { name, first_name, phone_number }
}

const fn company(company_name: &'static str, nif: &'static str) -> TaxPayer {
    TaxPayer::Company { company_name, nif }
}

/// Revenue, taxpayer, quantity, XOF each.
const SAMPLES: [Sample; 36] = [
    (&PATENTE, company("Établissements Traoré & Frères", "082214567K"), 1, 1_250_000),
    (&VIGNETTE, person("Coulibaly", "Fatoumata", "76 45 12 08"), 1, 12_000),
    (&FONCIER, person("Keïta", "Modibo", "+223 66 71 24 90"), 1, 87_500),
    (&AMENDE, person("Diarra", "Seydou", "79.30.55.17"), 1, 6_000),
    (&VIGNETTE, person("Sissoko", "Aminata", "65 02 88 41"), 2, 6_000),
    (&PERMIS, person("Touré", "Boubacar", "(223) 70-14-63-25"), 1, 150_000),
    (&CARTE, person("Maïga", "Aïssata", "78 91 40 36"), 1, 35_000),
    (&PATENTE, company("Boulangerie de la Paix SARL", "084110923T"), 1, 420_000),
    (&FONCIER, person("Dembélé", "Oumar", "66 18 07 52"), 1, 64_000),
    (&TIMBRE, company("Pharmacie du Fleuve", "081457788C"), 12, 1_500),
    (&AMENDE, person("Konaté", "Mariam", "00223 74 26 31 80"), 1, 18_000),
    (&VIGNETTE, person("Cissé", "Ibrahim", "69 55 43 19"), 1, 45_000),
    (&DOMAINE, company("Coopérative Sini ton de Niono", "087733102M"), 3, 75_000),
    (&VIGNETTE, person("Samaké", "Kadiatou", "77 60 29 84"), 1, 12_000),
    (&FONCIER, company("Hôtel Les Manguiers", "083908245R"), 1, 940_000),
    (&PERMIS, company("Bâti-Sahel SA", "080062371V"), 1, 600_000),
    (&AMENDE, person("Doumbia", "Yacouba", "73 84 10 66"), 1, 12_000),
    (&VIGNETTE, person("Sangaré", "Assétou", "62 37 95 01"), 1, 6_000),
    (&PATENTE, company("Garage Auto Plus Ségou", "085521690H"), 1, 310_000),
    (&TIMBRE, person("Bagayoko", "Drissa", "+223 79 08 12 47"), 4, 1_500),
    (&FONCIER, person("Sidibé", "Rokia", "75 49 66 30"), 1, 52_500),
    (&VIGNETTE, company("Transports Faso Kaba", "082690417P"), 14, 45_000),
    (&CARTE, person("Haïdara", "Abdoulaye", "68 21 74 93"), 1, 35_000),
    (&AMENDE, person("Fofana", "Nènè", "90 13 58 72"), 1, 6_000),
    (&PATENTE, company("Imprimerie Sahélienne", "086345018D"), 1, 275_000),
    (&VIGNETTE, person("Ouattara", "Siaka", "71 80 46 15"), 1, 12_000),
    (&FONCIER, person("Théra", "Djénéba", "64 92 33 08"), 1, 118_000),
    (&DOMAINE, person("Ag Mohamed", "Alhousseini", "83 05 71 64"), 1, 75_000),
    (&VIGNETTE, person("Kanté", "Hawa", "76 14 29 57"), 1, 12_000),
    (&PERMIS, person("Togola", "Bréhima", "67 38 80 42"), 1, 150_000),
    (&AMENDE, person("Niaré", "Salif", "70 67 95 23"), 1, 24_000),
    (&PATENTE, company("Quincaillerie Badala", "081980356W"), 1, 185_000),
    (&TIMBRE, person("Guindo", "Yaïguéré", "82 44 16 09"), 2, 3_000),
    (&VIGNETTE, person("Diallo", "Oumou", "66 53 07 88"), 1, 24_000),
    (&FONCIER, company("Société Immobilière du Mandé", "084877214B"), 1, 1_480_000),
    (&VIGNETTE, person("Berthé", "Lassina", "79 26 61 34"), 1, 12_000),
];

/// Every notice of a play on a database that holds `earlier` rows: references go on where those may have ended.
pub(super) fn all(earlier: usize) -> Vec<Notice> {
    let notice = |(place, &(revenue, tax_payer, quantity, unit_price)): (usize, &Sample)| {
        let item = Item { name: revenue.name, quantity, unit_price, code_nature_recette: revenue.code };
        let fee = (revenue.prefix == PERMIS.prefix).then_some(FILE_FEE);
        let items: Vec<Item> = std::iter::once(item).chain(fee).collect();
        Notice {
            reference: format!("{}-{:04}", revenue.prefix, FIRST_NUMBER + earlier + place),
            code_structure: (place == UNKNOWN_STRUCTURE).then_some(NOT_REGISTERED),
            net_total: items.iter().map(|item| item.quantity * item.unit_price).sum(),
            tax_payer,
            items,
        }
    };
    SAMPLES.iter().enumerate().map(notice).collect()
}
