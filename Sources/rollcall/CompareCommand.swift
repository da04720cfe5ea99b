public import Alignment
public import ArgumentParser
import Comparison
import Coordination
public import Dumps
import Foundation
import Planning
import Reporting

/// What `compare` and `slots` share: layout, call rule, noise profile, output.
struct ComparisonOptions: ParsableArguments {
  @Option(
    name: .long,
    help: """
      Layout of the dump directory: \(DumpLayout.allCases.map(\.rawValue).joined(separator: ", ")) (default: as the \
      files' names say).
      """)
  var layout: DumpLayout?

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

  func validate() throws {
    guard let pattern else {
      guard layout != .custom else { throw ValidationError("--layout custom needs a --pattern.") }
      return
    }
    if let why = CustomPattern.refusal(of: pattern) { throw ValidationError("--pattern '\(pattern)' \(why).") }
  }

  /// As asked for, else as the names of the files say.
  func layout(of directory: String) throws -> DumpLayout {
    try layout ?? (pattern == nil ? DumpSetLoader.detectLayout(directory: directory) : .custom)
  }

  func show(_ report: ComparisonReport, explains: Bool = false) throws -> Never {
    if json {
      report.writeJSON(pretty: true) { Console.write(bytes: $0) }
    } else {
      Console.print(
        report.text(
          verbose: verbose, explains: explains, style: Style(color: Console.wantsColour, width: Console.width)))
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

      With --save-measures the measures are kept, and with --measures another --noise judges them again without a \
      look at the tensors; where files, calls or world sizes changed it measures again and says so. For runs in a \
      store this is done without being asked for.

      Example: rollcall compare dumps/tp1 dumps/tp8
      """)

  @Argument(help: "The side that is trusted.", completion: .directory)
  var reference: String

  @Argument(help: "The side under test.", completion: .directory)
  var target: String

  @Option(name: .long, help: NoiseArgument.help)
  var noise = NoiseArgument.measured

  @Option(
    name: .long,
    help: """
      A report (compare --json, report --format json) of comparisons that are known to be right: what they differ by is \
      honest noise here. May be given several times.
      """, completion: .file())
  var knownGood: [String] = []

  @Option(
    name: .long,
    help: "Ranks the reference must have at least (default: as its dumps state, else those that are there).")
  var referenceWorldSize: Int?

  @Option(
    name: .long,
    help: "Ranks the target must have at least (default: as its dumps state, else those that are there).")
  var targetWorldSize: Int?

  @Option(name: .long, help: "Slots of the batch, for --rule atom.")
  var slots = 4

  @Option(
    name: .long,
    help: """
      Join names of two formats: \(NamePreset.allCases.map(\.rawValue).joined(separator: ", ")), or a YAML file with \
      the rules that compare.names of a job file would have.
      """, completion: .file())
  var names: String?

  @Flag(
    name: .long,
    help: """
      Judge nothing: print rules for names whose tensors are alike, to be looked at and given with --names. Exit code 2.
      """)
  var proposeNames = false

  @Flag(
    name: .long,
    help: """
      Show the evidence of each finding: the stages around it, the other layers, call and layout, and what speaks \
      against other causes.
      """)
  var explain = false

  @Option(name: .long, help: "Keep the measures in this file, to be judged again.", completion: .file())
  var saveMeasures: String?

  @Option(
    name: .long, help: "Judge the measures in this file; the tensors are read only where they changed since.",
    completion: .file())
  var measures: String?

  @Flag(name: .long, help: "Read the dumps even where stored measures would do.")
  var read = false

  @OptionGroup var options: ComparisonOptions

  var wantsJSON: Bool { options.json }

  func validate() throws {
    try WorldSizeOption.check(referenceWorldSize, "--reference-world-size")
    try WorldSizeOption.check(targetWorldSize, "--target-world-size")
    guard (1...SlotsCommand.limit).contains(slots) else {
      throw ValidationError("--slots must be a number from 1 to \(SlotsCommand.limit).")
    }
    guard knownGood.isEmpty || noise == .measured else {
      throw ValidationError("--known-good gives floors to --noise measured alone.")
    }
    guard !(read && measures != nil) else {
      throw ValidationError("--measures takes stored measures and --read the dumps: give one of them.")
    }
  }

  func run() async throws {
    let kept = try saveMeasures.map { try Console.replaceable($0, "--save-measures") }
    let rules = try NamesArgument.rules(names)
    let floors = try KnownGood.floors(knownGood)
    let policy = knownGood.isEmpty ? noise.policy : .measured(floors)
    let left = try DumpSource(directory: reference, layout: try options.layout(of: reference), pattern: options.pattern)
    let right = try DumpSource(directory: target, layout: try options.layout(of: target), pattern: options.pattern)
    let request = ComparisonRequest(
      reference: ComparisonSide(set: left.emptySet, worldSize: referenceWorldSize ?? left.worldSize),
      target: ComparisonSide(set: right.emptySet, worldSize: targetWorldSize ?? right.worldSize),
      selection: options.select, rule: options.rule, slots: slots, policy: policy, names: rules)
    if proposeNames { try await propose(request, left, right) }
    var report = try await ProgressBar.during("comparing") {
      try await compare(request, left, right, to: kept, progress: $0)
    }
    report.notes += floors.notes
    if isOneDirectory {
      report.verdict = Verdict.combined([report.verdict, .inconclusive])
      report.notes.insert("not a PASS: both sides are the same directory", at: 0)
    }
    try options.show(report, explains: explain)
  }

  /// By whatever path: then nothing was compared with anything else.
  private var isOneDirectory: Bool {
    var (left, right) = (stat(), stat())
    return stat(reference, &left) == 0 && stat(target, &right) == 0 && left.st_dev == right.st_dev
      && left.st_ino == right.st_ino
  }

  private func propose(_ request: ComparisonRequest, _ left: DumpSource, _ right: DumpSource) async throws -> Never {
    var request = request
    request.reference.set = try await left.dumps()
    request.target.set = try await right.dumps()
    let found = try await DumpComparer.proposeNames(request)
    Console.print(options.json ? NameProposals(found).json : NameProposals(found).text)
    throw ExitCode(2)
  }

  private func compare(
    _ request: ComparisonRequest, _ left: DumpSource, _ right: DumpSource, to kept: String?,
    progress: @escaping MeasuringProgress
  ) async throws -> ComparisonReport {
    let now = Date().timeIntervalSince1970
    if measures == nil, kept == nil, MeasureArchive.path(of: reference) != nil,
      let directory = MeasureArchive.path(of: target)
    {
      // The archive of the store; a store that cannot be written is no fault of the comparison.
      let archive = MeasureArchive(directory: directory, usesStored: !read, now: now)
      var (report, origin) = try await archive.report(
        request, reference: left, target: right, purpose: "compare", progress: progress)
      if origin != .dumps(why: MeasureArchive.nothingStored), let note = origin.note { report.notes.append(note) }
      return report
    }
    if let measures, !FileManager.default.fileExists(atPath: measures) {
      throw InputError(message: "\(measures): there is no such file of measures; write one with --save-measures")
    }
    var (report, origin, unsaved) = try await MeasureArchive.report(
      request, reference: left, target: right, from: measures, to: kept, now: now, progress: progress)
    if let unsaved { throw unsaved }
    if let note = origin.note { report.notes.append(note) }
    return report
  }
}

struct SlotsCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "slots",
    abstract: "Compare slot 0 of a batch with every other slot, bitwise: is the engine batch-invariant?",
    discussion: "Example: rollcall slots dumps/e1-4xsame --slots 4")

  /// Sequences in one batch, as in a job file.
  static let limit = 65_536

  @Argument(help: "The dump directory of a run with the same prompt in every slot.", completion: .directory)
  var directory: String

  @Option(name: .long, help: "Sequences in the batch.")
  var slots: Int

  @Option(name: .long, help: "Only this rank (default: all).")
  var rank: Int?

  @OptionGroup var options: ComparisonOptions

  var wantsJSON: Bool { options.json }

  func validate() throws {
    guard (2...Self.limit).contains(slots) else {
      throw ValidationError(
        "--slots must be a number from 2 to \(Self.limit): one slot has nothing to be compared with.")
    }
  }

  func run() async throws {
    let report = try await ProgressBar.during("comparing") { progress in
      let dumps = try StoredDumps.load(
        directory: directory, layout: options.layout(of: directory), pattern: options.pattern)
      return try await DumpComparer.compareSlots(
        set: dumps.set, slots: slots, rule: options.rule, selection: options.select, rank: rank,
        worldSize: dumps.worldSize, progress: progress)
    }
    try options.show(report)
  }
}

/// The options that say how many ranks there must be.
enum WorldSizeOption {
  /// - Throws: `ValidationError` for what is no number of ranks, or more than are looked through for missing ones.
  static func check(_ size: Int?, _ name: String) throws {
    guard let size, !(1...DumpSet.worldLimit).contains(size) else { return }
    throw ValidationError("\(name) must be a number of ranks from 1 to \(DumpSet.worldLimit).")
  }
}

/// `--noise`.
enum NoiseArgument: ExpressibleByArgument, Equatable {
  case measured
  case strict
  case atom
  case triage
  case limits(cos: Double?, rel: Double?)

  static let help = ArgumentHelp(
    "measured, strict (bitwise), atom, triage, or own limits: cos=0.999,rel=0.01 (one or both).")

  init?(argument: String) {
    switch argument {
    case "measured": self = .measured
    case "strict": self = .strict
    case "atom": self = .atom
    case "triage": self = .triage
    default:
      var values: [String: Double] = [:]
      for part in argument.split(separator: ",", omittingEmptySubsequences: false) {
        let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard pair.count == 2, let value = Double(pair[1]), value.isFinite, ["cos", "rel"].contains(pair[0]),
          pair[0] == "cos" ? (-1...1).contains(value) : value >= 0, values[String(pair[0])] == nil
        else { return nil }
        values[String(pair[0])] = value
      }
      self = .limits(cos: values["cos"], rel: values["rel"])
    }
  }

  static var allValueStrings: [String] { ["measured", "strict", "atom", "triage", "cos=0.999,rel=0.01"] }

  var policy: NoisePolicy {
    switch self {
    case .measured: .measured(NoiseFloors())
    case .strict: .strict
    case .atom: .atom
    case .triage: .triage
    case .limits(let cos, let rel): .thresholds(cos: cos, rel: rel)
    }
  }

  /// As the job file has it.
  var spec: CompareSpec.Noise {
    switch self {
    case .measured: .measured
    case .strict: .strict
    case .atom: .atom
    case .triage: .triage
    case .limits(let cos, let rel): .thresholds(cos: cos, rel: rel)
    }
  }
}

/// `--names`.
enum NamesArgument {
  /// - Throws: `PlanningError` for a file that holds no rules; `UsageError` for what is neither file nor preset.
  static func rules(_ argument: String?) throws -> NameRules {
    guard let argument else { return NameRules() }
    if let preset = NamePreset(rawValue: argument) { return NameRules([.preset(preset)]) }
    guard FileManager.default.fileExists(atPath: argument) else {
      let words = NamePreset.allCases.map(\.rawValue)
      let nearest = Spelling.nearest(to: argument, in: words).map { "; did you mean `\($0)`?" } ?? ""
      throw UsageError(
        message: "--names \(argument): there is no such file, and no such preset (\(words.joined(separator: ", ")))"
          + nearest)
    }
    return try NameRulesReader.read(path: argument)
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
