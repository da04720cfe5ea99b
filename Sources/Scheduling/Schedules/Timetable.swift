import Foundation
public import Planning

/// When a schedule starts its sweeps: a pure function of what has been decided before, and of the time.
public struct Timetable: Sendable {
  /// What has been decided so far.
  public struct State: Sendable, Hashable {
    /// Of all nominal times up to here it is decided what becomes of them. Seconds since 1970.
    public var decidedThrough: Double
    /// A sweep of this schedule has not ended.
    public var isRunning: Bool
    /// Nominal times that wait for their turn, in order.
    public var queued: [Double]

    public init(decidedThrough: Double, isRunning: Bool = false, queued: [Double] = []) {
      self.decidedThrough = decidedThrough
      self.isRunning = isRunning
      self.queued = queued
    }
  }

  /// What becomes of nominal times.
  public enum Decision: Sendable, Hashable {
    /// It waits for its turn, which comes at once where nothing runs.
    case queue(Double)
    /// None of them is run; a range of times is told in one record.
    case skip(first: Double, last: Double, count: Int, why: String)
    /// The sweep that runs is to be stopped for this one, which is queued.
    case cancelRunning(for: Double)
  }

  public let fireTimes: FireTimes
  public let spec: ScheduleSpec
  /// Tells one schedule's delays from another's.
  let name: String

  /// A time is missed when it is decided so many seconds after it was due.
  static let grace = 120.0
  /// Times looked at in one decision; the next one goes on.
  static let most = 2000

  /// - Throws: `CronExpression.Problem`.
  public init(_ spec: ScheduleSpec, name: String) throws(CronExpression.Problem) {
    fireTimes = try FireTimes(spec)
    self.spec = spec
    self.name = name
  }

  /// When a nominal time is due: with a delay that is the same whenever it is asked for.
  public func due(_ nominal: Double) -> Double {
    guard let jitter = spec.jitter, jitter >= 1 else { return nominal }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in "\(name) \(Int(nominal))".utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    // The low bits of such a hash are poor.
    return nominal + Double((hash ^ hash >> 32) % (UInt64(jitter) + 1))
  }

  /// Decides all times that are due, and gives the state that follows.
  public func decide(_ state: State, now: Double) -> (decisions: [Decision], state: State) {
    var state = state
    var decisions: [Decision] = []
    var missed: [Double] = []
    var looked = 0
    while looked < Self.most, let nominal = fireTimes.next(after: state.decidedThrough), due(nominal) <= now {
      looked += 1
      state.decidedThrough = nominal
      if now - due(nominal) > Self.grace {
        missed.append(nominal)
      } else {
        decide(missed: missed, isLast: true, &state, &decisions)
        missed = []
        decide(nominal, &state, &decisions)
      }
    }
    // More may follow: then none of these is the last.
    decide(missed: missed, isLast: looked < Self.most, &state, &decisions)
    return (decisions, state)
  }

  private func decide(missed: [Double], isLast: Bool, _ state: inout State, _ decisions: inout [Decision]) {
    guard let first = missed.first, let last = missed.last else { return }
    let why = "missed: serve did not run"
    switch spec.missed {
    case .skip: decisions.append(.skip(first: first, last: last, count: missed.count, why: why))
    case .runAll: for nominal in missed { queue(nominal, &state, &decisions) }
    case .runOnce:
      let skipped = isLast ? missed.dropLast() : missed[...]
      if let lastSkipped = skipped.last {
        decisions.append(
          .skip(first: first, last: lastSkipped, count: skipped.count, why: why + "; one run stands for all"))
      }
      if isLast { decide(last, &state, &decisions) }
    }
  }

  private func decide(_ nominal: Double, _ state: inout State, _ decisions: inout [Decision]) {
    guard state.isRunning || !state.queued.isEmpty else {
      queue(nominal, &state, &decisions)
      return
    }
    switch spec.overlap {
    case .skip:
      decisions.append(
        .skip(first: nominal, last: nominal, count: 1, why: "overlap: the sweep before it has not ended"))
    case .queue: queue(nominal, &state, &decisions)
    case .cancelOld:
      // Whatever waits has been overtaken, too.
      for waiting in state.queued {
        decisions.append(.skip(first: waiting, last: waiting, count: 1, why: "overlap: overtaken by the next one"))
      }
      state.queued = []
      if state.isRunning { decisions.append(.cancelRunning(for: nominal)) }
      queue(nominal, &state, &decisions)
    }
  }

  private func queue(_ nominal: Double, _ state: inout State, _ decisions: inout [Decision]) {
    state.queued.append(nominal)
    decisions.append(.queue(nominal))
  }

  /// The moments of `report_by` in a span of time at which a report was wanted: those before which, in 24 hours, the
  /// schedule had a time.
  public func reportTimes(after: Double, through: Double) -> [Double] {
    guard let time = spec.reportBy, through > after else { return [] }
    var found: [Double] = []
    // A day may be 23 or 25 hours long; nobody is told of more than a week.
    var day = max(after, through - 7 * 86_400)
    while day <= through + 86_400 {
      let moment = fireTimes.moment(of: time, onDayOf: day)
      if moment > after, moment <= through, !found.contains(moment),
        let nominal = fireTimes.next(after: moment - 86_400), nominal <= moment
      {
        found.append(moment)
      }
      day += 43_200
    }
    return found
  }
}
