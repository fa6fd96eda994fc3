//! The receipt of a paid notice: one page of PDF 1.4, small and valid.

use std::fmt::Write;

use super::ledger::Notice;

/// The PDF of a paid notice.
pub(super) fn pdf(notice: &Notice) -> Vec<u8> {
    let payer = &notice.tax_payer;
    let name = payer.company_name.as_deref().or(payer.name.as_deref()).unwrap_or_default();
    let mut lines = vec![
        "RECU DE PAIEMENT (SIMULATEUR, SANS VALEUR)".to_owned(),
        format!("Avis de recette : {}", notice.reference),
        format!("Référence du client : {}", notice.client_reference),
        format!("Redevable : {} {}", payer.first_name.as_deref().unwrap_or_default(), name),
    ];
    for item in &notice.items {
        let (quantity, price) = (item.quantity.map_or(0, |n| n.0), item.unit_price.map_or(0, |n| n.0));
        lines.push(format!("{quantity} x {} : {price} XOF", item.name.as_deref().unwrap_or_default()));
    }
    lines.push(format!("Total : {} XOF", notice.net_total));
    lines.push(format!(
        "Payé le {} par {}",
        notice.pay_date.as_deref().unwrap_or_default(),
        notice.provider.as_deref().unwrap_or_default()
    ));
    document(&page_content(&lines))
}

/// Text operators, one line below the other.
fn page_content(lines: &[String]) -> Vec<u8> {
    let mut content = b"BT /F1 11 Tf 56 780 Td 16 TL\n".to_vec();
    for line in lines {
        content.push(b'(');
        content.extend(line.chars().flat_map(escaped));
        content.extend_from_slice(b") '\n");
    }
    content.extend_from_slice(b"ET");
    content
}

/// A character in a PDF string of `WinAnsiEncoding`, which agrees with Latin-1 where Latin-1 has letters.
fn escaped(character: char) -> Vec<u8> {
    match character {
        '(' | ')' | '\\' => vec![b'\\', character as u8],
        ' '..='~' | '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(character)).into_iter().collect(),
        _ => vec![b'?'],
    }
}

/// The document around one page's content, with its cross-reference table.
fn document(content: &[u8]) -> Vec<u8> {
    let mut stream = format!("<< /Length {} >>\nstream\n", content.len()).into_bytes();
    stream.extend_from_slice(content);
    stream.extend_from_slice(b"\nendstream");
    let objects: [&[u8]; 5] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 5 0 R \
          /Resources << /Font << /F1 4 0 R >> >> >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        &stream,
    ];
    let mut pdf = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (index, object) in objects.iter().enumerate() {
        let _ = writeln!(table, "{:010} 00000 n ", pdf.len());
        pdf.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
        pdf.extend_from_slice(object);
        pdf.extend_from_slice(b"\nendobj\n");
    }
    let start = pdf.len();
    let size = objects.len() + 1;
    let _ = write!(table, "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n");
    pdf.extend_from_slice(table.as_bytes());
    pdf
}
