import ArgumentParser
import Dumps

/// `rollcall schema A B`: whether two sides hold the same tensors.
struct SchemaCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schema",
    abstract: "Compare names, shapes and types of two weight dumps.",
    discussion: """
      A leading "model." is not part of a name; keys that start with "_" are bookkeeping. Tensors that agree in name,
      shape and type are compared byte by byte; unequal bytes alone do not fail.

      Exit code 0 where the schemas are equal, 1 where they are not, 2 where something could not be read.

      Example: rollcall schema reference/weights target/weights
      """)

  @Argument(help: "The trusted side: a dump file, or a directory of weight files.", completion: .file())
  var reference: String

  @Argument(help: "The side under test.", completion: .file())
  var target: String

  @Flag(help: "Print one JSON document.")
  var json = false

  func run() async throws {
    let report = try SchemaReport.compare(reference: reference, target: target)
    print(json ? try JSONText.of(report) : text(report))
    switch report.verdict {
    case .pass: break
    case .fail: throw ExitCode(1)
    case .inconclusive: throw ExitCode(2)
    }
  }

  private func text(_ report: SchemaReport) -> String {
    var lines = report.onlyReference.map { "only in reference: \($0)" }
    lines += report.onlyTarget.map { "only in target:    \($0)" }
    lines += report.mismatched.map { "\($0.field) differs: \($0.name): \($0.reference) and \($0.target)" }
    lines += report.unreadable.map { "unreadable: \($0.file): \($0.why)" }
    let equal = report.byteEqual.count
    lines.append(
      "\(report.verdict.rawValue.uppercased()): \(report.common.count) tensors on both sides, \(equal) of them equal "
        + "byte by byte")
    return lines.joined(separator: "\n")
  }
}
