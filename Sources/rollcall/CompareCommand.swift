public import Alignment
public import ArgumentParser
import Comparison
import Coordination
public import Dumps
import Foundation
import Reporting

/// What `compare` and `slots` share: layout, call rule, noise profile, output.
struct ComparisonOptions: ParsableArguments {
  @Option(
    name: .long, help: "Layout of the dump directory: \(DumpLayout.allCases.map(\.rawValue).joined(separator: ", ")).")
  var layout = DumpLayout.atom

  @Option(name: .long, help: "For --layout custom: a regular expression with groups rank, layer, stage, call.")
  var pattern: String?

  @Option(name: .long, help: "How the call is chosen: auto, or atom (pick_prefill_call exactly).")
  var rule = CallRule.auto

  @Option(name: .long, help: "Which call: prefill, decode, warm-up or a call number.")
  var select = CallSelection.prefill

  @Flag(name: .shortAndLong, help: "Show every row, also the passing ones.")
  var verbose = false

  @Flag(name: .long, help: "Print one JSON document on standard output.")
  var json = false

  func show(_ report: ComparisonReport) throws -> Never {
    if json {
      Console.print(report.json(pretty: true))
    } else {
      Console.print(
        report.text(verbose: verbose, style: Style(color: Console.wantsColour, width: Console.width)))
    }
    throw ExitCode(ExitPolicy.code(for: report))
  }
}

struct CompareCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "compare",
    abstract: "Compare two dump directories; needs no store and no host.",
    discussion: """
      Ranks are put together as the shapes and the data say; what was not compared is listed.

      Example: rollcall compare dumps/tp1 dumps/tp8
      """)

  @Argument(help: "The side that is trusted.", completion: .directory)
  var reference: String

  @Argument(help: "The side under test.", completion: .directory)
  var target: String

  @Option(name: .long, help: "measured, strict (bitwise), atom or triage.")
  var noise = NoiseArgument.measured

  @Option(name: .long, help: "Ranks the reference must have (default: those that are there).")
  var referenceWorldSize: Int?

  @Option(name: .long, help: "Ranks the target must have (default: those that are there).")
  var targetWorldSize: Int?

  @Option(name: .long, help: "Slots of the batch, for --rule atom.")
  var slots = 4

  @OptionGroup var options: ComparisonOptions

  var wantsJSON: Bool { options.json }

  func run() async throws {
    async let left = Self.load(reference, options)
    async let right = Self.load(target, options)
    let (reference, target) = try await (left, right)
    let request = ComparisonRequest(
      reference: ComparisonSide(set: reference.set, worldSize: referenceWorldSize ?? reference.worldSize),
      target: ComparisonSide(set: target.set, worldSize: targetWorldSize ?? target.worldSize),
      selection: options.select, rule: options.rule, slots: slots, policy: noise.policy)
    try options.show(try await DumpComparer.compare(request))
  }

  /// Checksums are verified while the tensors are measured.
  private static func load(
    _ directory: String, _ options: ComparisonOptions
  ) async throws -> (set: DumpSet, worldSize: Int?) {
    try StoredDumps.load(
      directory: directory, layout: options.layout, pattern: options.pattern, verifyChecksums: false)
  }
}

struct SlotsCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "slots",
    abstract: "Compare slot 0 of a batch with every other slot, bitwise: is the engine batch-invariant?",
    discussion: "Example: rollcall slots dumps/e1-4xsame --slots 4")

  @Argument(help: "The dump directory of a run with the same prompt in every slot.", completion: .directory)
  var directory: String

  @Option(name: .long, help: "Sequences in the batch.")
  var slots: Int

  @Option(name: .long, help: "Only this rank (default: all).")
  var rank: Int?

  @OptionGroup var options: ComparisonOptions

  var wantsJSON: Bool { options.json }

  func validate() throws {
    guard slots >= 2 else {
      throw ValidationError("--slots must be 2 or more: one slot has nothing to be compared with.")
    }
  }

  func run() async throws {
    let dumps = try StoredDumps.load(directory: directory, layout: options.layout, pattern: options.pattern)
    try options.show(
      try await DumpComparer.compareSlots(
        set: dumps.set, slots: slots, rule: options.rule, selection: options.select, rank: rank,
        worldSize: dumps.worldSize))
  }
}

/// `--noise`.
enum NoiseArgument: String, ExpressibleByArgument, CaseIterable {
  case measured
  case strict
  case atom
  case triage

  var policy: NoisePolicy {
    switch self {
    case .measured: .measured(NoiseFloors())
    case .strict: .strict
    case .atom: .atom
    case .triage: .triage
    }
  }
}

extension DumpLayout: ExpressibleByArgument {}
extension CallRule: ExpressibleByArgument {}

extension CallSelection: ExpressibleByArgument {
  public init?(argument: String) {
    switch argument {
    case "prefill": self = .prefill
    case "decode": self = .decode
    case "warm-up": self = .warmUp
    default:
      guard let number = Int(argument), number >= 0 else { return nil }
      self = .number(number)
    }
  }
}
