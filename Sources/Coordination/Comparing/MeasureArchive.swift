import Comparison
import Dumps
import Foundation
public import Reporting

/// Measures of pairs of stored dumps: taken from their files where these fit, else from the dumps, and then kept.
public struct MeasureArchive: Sendable {
  /// Where a comparison's measures came from.
  public enum Origin: Sendable, Hashable {
    /// Seconds since 1970 of the measuring; no dump was opened.
    case stored(at: Double)
    /// The reason where stored ones were asked for and did not serve.
    case dumps(why: String?)
  }

  /// The reason where there is no file of measures yet.
  public static let nothingStored = "no measures are stored"

  /// Directory of the files; made when the first is written.
  public var directory: String
  /// Whether files that stand already may be used.
  public var usesStored: Bool
  /// Seconds since 1970, for what is written.
  public var now: Double

  public init(directory: String, usesStored: Bool, now: Double) {
    self.directory = directory
    self.usesStored = usesStored
    self.now = now
  }

  /// The archive beside the runs of a sweep.
  public static func path(store: String, sweep: String) -> String { "\(store)/sweeps/\(sweep)/measures" }

  /// The archive of the sweep that a directory of the store belongs to; nil for any other directory.
  public static func path(of directory: String) -> String? {
    StoredDumps.place(of: directory).map { path(store: $0.store, sweep: $0.sweep) }
  }

  /// Judges a pair by `request`, whose sets need hold no captures.
  ///
  /// - Parameters:
  ///   - purpose: keeps apart what is measured of one pair for different ends.
  ///   - keepsEvidence: as in `report(_:reference:target:from:to:)`.
  /// - Throws: `DumpError` or `GatheringError` where dumps cannot be loaded; as `DumpComparer.compare`.
  public func report(
    _ request: ComparisonRequest, reference: DumpSource, target: DumpSource, purpose: String,
    keepsEvidence: Bool = true, progress: MeasuringProgress? = nil
  ) async throws -> (report: ComparisonReport, origin: Origin) {
    let file = path(request, reference, target, purpose)
    var (report, origin, unsaved) = try await Self.report(
      request, reference: reference, target: target, from: usesStored ? file : nil, to: file,
      keepsEvidence: keepsEvidence, now: now, progress: progress)
    // An archive that cannot be written costs time the next time, and no verdict.
    if let unsaved { report.notes.append(unsaved.description) }
    return (report, origin)
  }

  /// Judges a pair by measures from a file where they fit, else by measures of the dumps, which are then written.
  ///
  /// - Parameters:
  ///   - from: file of stored measures; one that is not there or does not fit is named in the origin.
  ///   - to: file for measures taken from the dumps.
  ///   - keepsEvidence: the diagnosis' evidence is collected for the named policies, so that a change between them
  ///     needs no dump.
  /// - Returns: also why the file was not written.
  public static func report(
    _ request: ComparisonRequest, reference: DumpSource, target: DumpSource, from: String?, to: String?,
    keepsEvidence: Bool = true, now: Double, progress: MeasuringProgress? = nil
  ) async throws -> (report: ComparisonReport, origin: Origin, unsaved: MeasureFileError?) {
    var why: String?
    var key: MeasureKey?
    if from != nil || to != nil {
      do {
        key = MeasureKey(request, reference: try reference.identity(), target: try target.identity())
      } catch {
        why = (error as? NothingToCompare)?.message ?? "\(error)"
      }
    }
    if let from, let key {
      do {
        if let contents = try MeasureFile.read(from) {
          why = key.difference(from: contents.key)
          if why == nil {
            let report = try DumpComparer.judge(contents.measured, by: request)
            return (report, .stored(at: contents.measured.storedAt ?? 0), nil)
          }
        } else {
          why = nothingStored
        }
      } catch let error as MeasureFileError {
        why = error.message
      } catch let error as EvidenceNotStored {
        why = "the rules need evidence of \(error.key), which is not stored"
      }
    }
    var request = request
    async let first = reference.loaded()
    async let second = target.loaded()
    let (left, right) = try await (first, second)
    request.reference.set = left.set
    request.target.set = right.set
    var measured = try await DumpComparer.measure(request, progress: progress)
    var unsaved: MeasureFileError?
    if let to {
      if keepsEvidence { try measured.collectEvidence(for: request) }
      unsaved = save(measured, key, reference, target, isWhole: left.isWhole && right.isWhole, to: to, now: now)
    }
    return (try DumpComparer.judge(measured, by: request), .dumps(why: from == nil ? nil : why), unsaved)
  }

  /// - Returns: why nothing was written.
  private static func save(
    _ measured: MeasuredComparison, _ key: MeasureKey?, _ reference: DumpSource, _ target: DumpSource, isWhole: Bool,
    to file: String, now: Double
  ) -> MeasureFileError? {
    func unsaved(_ why: String) -> MeasureFileError {
      MeasureFileError(code: .unwritable, file: file, message: "the measures were not stored: \(why)")
    }
    guard let key, isWhole else { return unsaved("files of the store are missing or damaged") }
    do {
      // Files that changed while they were measured would be kept under the wrong identity.
      guard try key.reference == reference.identity(), try key.target == target.identity() else {
        return unsaved("files changed while they were measured")
      }
      let data = try MeasureFile.encode(measured, key: key, now: now)
      try FileManager.default.createDirectory(
        at: URL(fileURLWithPath: file).deletingLastPathComponent(), withIntermediateDirectories: true)
      try data.write(to: URL(fileURLWithPath: file), options: .atomic)
      return nil
    } catch {
      return unsaved((error as? NothingToCompare)?.message ?? error.localizedDescription)
    }
  }

  /// One file a pair: what is measured anew takes the place of what was.
  private func path(
    _ request: ComparisonRequest, _ reference: DumpSource, _ target: DumpSource, _ purpose: String
  ) -> String {
    let words = [purpose, reference.name, target.name, MeasureKey.text(request.selection)]
    return "\(directory)/\(hexDigest(Data(words.joined(separator: "\n").utf8)).prefix(32)).measures"
  }
}

extension MeasureArchive.Origin {
  /// What a reader of a report that was judged again must know; nil where there is nothing to say.
  public var note: String? {
    switch self {
    case .stored(let time):
      "judged from the measures of \(Date(timeIntervalSince1970: time).formatted(.iso8601)); no dump file was opened"
    case .dumps(let why): why.map { "measured again from the dumps: \($0)" }
    }
  }
}
