import Alignment
import Coordination
import Foundation

/// What `compare --propose-names` prints: rules to be looked at and pasted.
struct NameProposals {
  private struct Entry: Encodable {
    var reference: String
    var target: String
    var relL2: Double
    var layers: [Int]
    var nextBest: String?
    var nextRelL2: Double?

    enum CodingKeys: String, CodingKey {
      case reference
      case target
      case relL2 = "rel_l2"
      case layers
      case nextBest = "next_best"
      case nextRelL2 = "next_rel_l2"
    }
  }

  private struct Document: Encodable {
    var schema = "rollcall.names/1"
    var proposed: [Entry]
  }

  private var entries: [Entry]

  init(_ proposals: [NameProposal]) {
    entries = proposals.map { proposal in
      Entry(
        reference: proposal.reference.text, target: proposal.target.text, relL2: proposal.relL2,
        layers: proposal.layers,
        nextBest: proposal.nextBest?.target.text, nextRelL2: proposal.nextBest?.relL2)
    }
  }

  /// YAML as `--names` and `compare.names` read it; each rule's evidence stands beside it as a comment.
  var text: String {
    guard !entries.isEmpty else { return "# No two names without a partner hold tensors that are alike.\n" }
    var lines = [
      "# Proposed by what the tensors hold, and not used: look at each, keep what is right, give the file with --names."
    ]
    for entry in entries {
      var evidence = "rel_l2 \(Self.figure(entry.relL2))"
      if !entry.layers.isEmpty { evidence += " in layers \(entry.layers.map(String.init).joined(separator: ", "))" }
      if let next = entry.nextBest, let distance = entry.nextRelL2 {
        evidence += "; next best \(Self.line(next)) \(Self.figure(distance))"
      }
      lines.append("- reference: \(Self.quoted(entry.reference))")
      lines.append("  target: \(Self.quoted(entry.target))  # \(evidence)")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  var json: String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let data = (try? encoder.encode(Document(proposed: entries))) ?? Data()
    return String(decoding: data, as: UTF8.self) + "\n"
  }

  private static func figure(_ value: Double) -> String { String(format: "%.3g", value) }

  private static func line(_ text: String) -> String { text.filter { !$0.isNewline } }

  /// A double-quoted YAML scalar.
  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\", "\"": result += "\\\(scalar)"
      case _ where scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value):
        result += "\\x" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
