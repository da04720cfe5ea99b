import Alignment
import Comparison
import Diagnosis
import Dumps
public import Foundation
import Reporting

/// Measures on disk: one line that says what it is, one with the SHA-256 of the rest, then a binary property list.
///
/// Per-token figures are packed as little-endian doubles: they are most of the file, and judging them again must give
/// the same bits.
public enum MeasureFile {
  static let magic = "rollcall.measures/1"
  /// More than this is not read.
  static let sizeLimit = 4 << 30

  public struct Contents: Sendable {
    public var key: MeasureKey
    public var measured: MeasuredComparison
  }

  private struct Record: Codable {
    var key: MeasureKey
    var measuredAt: Double
    var matching: MatchingSummary
    var rows: [Row]
    var unreadable: [Unreadable]
    var evidence: [StoredEvidence]
  }

  private struct Row: Codable {
    var outcome: PairOutcome
    var tokenRelL2: Data
    var tokenNorms: Data
  }

  /// - Parameter now: seconds since 1970.
  public static func encode(_ measured: MeasuredComparison, key: MeasureKey, now: Double) throws -> Data {
    let rows = measured.outcomes.map { outcome in
      var bare = outcome
      bare.removePlaces()
      bare.measures?.tokenRelL2 = []
      bare.measures?.tokenNorms = []
      return Row(
        outcome: bare, tokenRelL2: pack(outcome.measures?.tokenRelL2 ?? []),
        tokenNorms: pack(outcome.measures?.tokenNorms ?? []))
    }
    let evidence = measured.evidence.map { entry in
      var entry = entry
      entry.evidence.measures.tokenRelL2 = []
      entry.evidence.measures.tokenNorms = []
      return entry
    }
    let encoder = PropertyListEncoder()
    encoder.outputFormat = .binary
    let payload = try encoder.encode(
      Record(
        key: key, measuredAt: measured.storedAt ?? now, matching: measured.matching, rows: rows,
        unreadable: measured.unreadable, evidence: evidence))
    return Data("\(magic)\n\(hexDigest(payload))\n".utf8) + payload
  }

  /// - Throws: `MeasureFileError` where the bytes are not whole.
  public static func decode(_ data: Data, file: String) throws -> Contents {
    func damaged(_ message: String) -> MeasureFileError {
      MeasureFileError(code: .damaged, file: file, message: message)
    }
    let head = Data("\(magic)\n".utf8)
    let start = head.count + 65
    guard data.starts(with: head), data.count > start else {
      throw damaged("this is no file of measures (\(magic)); write it with --save-measures")
    }
    let payload = data.dropFirst(start)
    guard data.dropFirst(head.count).prefix(64).elementsEqual(hexDigest(payload).utf8) else {
      throw damaged("the measures do not fit their checksum: the file was cut short or changed")
    }
    let record: Record
    do {
      record = try PropertyListDecoder().decode(Record.self, from: payload)
    } catch {
      throw damaged("the measures cannot be read by this version: \(error)")
    }
    let outcomes = try record.rows.map { row in
      guard row.outcome.isSound, let distances = unpack(row.tokenRelL2), let norms = unpack(row.tokenNorms) else {
        throw damaged("the figures of \(row.outcome.key) do not fit each other")
      }
      var outcome = row.outcome
      outcome.measures?.tokenRelL2 = distances
      outcome.measures?.tokenNorms = norms
      return outcome
    }
    guard (0...1 << 24).contains(record.matching.reference.worldSize),
      (0...1 << 24).contains(record.matching.target.worldSize)
    else { throw damaged("a world size is out of range") }
    var measured = MeasuredComparison(
      matching: record.matching, outcomes: outcomes, unreadable: record.unreadable, evidence: record.evidence)
    measured.storedAt = record.measuredAt
    return Contents(key: record.key, measured: measured)
  }

  /// Reads a file of measures; nil where there is none.
  public static func read(_ path: String) throws -> Contents? {
    guard let handle = Foundation.FileHandle(forReadingAtPath: path) else { return nil }
    defer { try? handle.close() }
    guard try handle.seekToEnd() <= UInt64(sizeLimit) else {
      throw MeasureFileError(code: .damaged, file: path, message: "the file is larger than \(sizeLimit) bytes")
    }
    try handle.seek(toOffset: 0)
    return try decode(try handle.readToEnd() ?? Data(), file: path)
  }

  private static func pack(_ values: [Double]) -> Data {
    var data = Data(capacity: values.count * 8)
    for value in values { withUnsafeBytes(of: value.bitPattern.littleEndian) { data.append(contentsOf: $0) } }
    return data
  }

  private static func unpack(_ data: Data) -> [Double]? {
    guard data.count % 8 == 0 else { return nil }
    return data.withUnsafeBytes { bytes in
      stride(from: 0, to: bytes.count, by: 8).map {
        Double(bitPattern: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: $0, as: UInt64.self)))
      }
    }
  }
}

/// What is wrong with a file of measures, and how to mend it.
public struct MeasureFileError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable {
    /// Cut short, changed, of another version, or no such file at all.
    case damaged = "damaged-measures"
    case notFound = "no-measures"
    case unwritable = "measures-not-written"
  }

  public var code: Code
  public var file: String
  public var message: String

  public var description: String { "\(file): \(message)" }
}

extension PairOutcome {
  /// Leaves out where the tensors' bytes stand: judging asks for shapes and types only.
  fileprivate mutating func removePlaces() {
    func bare(_ tensors: [Tensor]) -> [Tensor] {
      tensors.map { tensor in
        var tensor = tensor
        tensor.name = ""
        tensor.strides = []
        tensor.storageOffset = 0
        tensor.storage = StorageRegion(path: "", offset: 0, byteCount: 0)
        return tensor
      }
    }
    targets = bare(targets)
    references = bare(references)
    guard var decision else { return }
    decision.target.parts = bare(decision.target.parts)
    decision.reference.parts = bare(decision.reference.parts)
    self.decision = decision
  }

  /// The layouts name only parts that are there.
  fileprivate var isSound: Bool {
    guard let decision else { return measures == nil }
    return [decision.target, decision.reference].allSatisfy { side in
      !side.layout.pieces.isEmpty && side.layout.pieces.allSatisfy { side.parts.indices.contains($0.part) }
    }
  }
}
