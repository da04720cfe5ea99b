extension CoverageLedger {
  var jsonValue: JSONValue { .object(["reference": reference.jsonValue, "target": target.jsonValue]) }
}

extension CoverageLedger.Side {
  fileprivate var jsonValue: JSONValue {
    .object([
      "files": .int(files),
      "captures": .int(captures),
      "compared": .int(compared),
      "counts": .sorted(
        Dictionary(uniqueKeysWithValues: counts.map { ($0.key.rawValue, JSONValue.int($0.value)) })),
      "entries": .array(
        entries.map { entry in
          .object([
            "file": .string(entry.file), "values": .strings(entry.values), "reason": .string(entry.reason.rawValue),
            "why": .optional(entry.why),
          ])
        }),
      "omitted": .int(omitted),
    ])
  }
}

/// `coverage.ledger` as it stands in a file.
struct CoverageLedgerRecord: Decodable {
  struct Side: Decodable {
    var files: Int
    var captures: Int
    var compared: Int
    var counts: [String: Int]
    var entries: [CoverageLedger.Entry]
    var omitted: Int

    var side: CoverageLedger.Side {
      CoverageLedger.Side(
        files: files, captures: captures, compared: compared, entries: entries, omitted: omitted,
        counts: counts.reduce(into: [:]) { result, count in
          if let reason = CoverageLedger.Reason(rawValue: count.key) { result[reason] = count.value }
        })
    }
  }

  var reference: Side
  var target: Side

  var ledger: CoverageLedger { CoverageLedger(reference: reference.side, target: target.side) }
}
