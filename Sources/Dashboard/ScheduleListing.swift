import Foundation
public import Ledger
import Planning
import Scheduling

/// `rollcall.schedules/1`: what `rollcall schedule list` and the dashboard tell of schedules.
public struct ScheduleListing: Encodable, Sendable {
  public struct Entry: Encodable, Sendable {
    public var name: String
    public var path: String
    public var fleet: String?
    public var enabled: Bool
    public var cron: String?
    public var timezone: String?
    public var missed: String?
    public var overlap: String?
    /// Local times with their offset from UTC.
    public var next: [String] = []
    public var last: String?
    public var problem: String?

    init(_ schedule: ScheduleRecord, _ ledger: SweepLedger, now: Double) throws {
      (name, path, fleet, enabled) = (schedule.name, schedule.path, schedule.fleet, schedule.isEnabled)
      do {
        if let spec = try Planner.plan(jobFile: schedule.path).schedule {
          (cron, timezone, missed, overlap) = (spec.cron, spec.timezone, spec.missed.rawValue, spec.overlap.rawValue)
          let fireTimes = try FireTimes(spec)
          let style = Date.ISO8601FormatStyle(timeZoneSeparator: .colon, timeZone: fireTimes.zone)
          if enabled {
            next = fireTimes.next(5, after: now).map { Date(timeIntervalSince1970: $0).formatted(style) }
          }
        } else {
          problem = "\(path) has no section `schedule` any more"
        }
      } catch let error as CronExpression.Problem {
        problem = error.message
      } catch {
        problem = "\(error)"
      }
      if let firing = try ledger.firings(of: schedule.name, limit: 1).last {
        let verdict = try firing.sweep.flatMap { try ledger.sweep(named: $0).verdict?.uppercased() }
        let time = Date(timeIntervalSince1970: firing.last).formatted(.iso8601)
        last = [time, firing.state.rawValue, verdict, firing.why].compactMap { $0 }.joined(separator: ", ")
      }
    }
  }

  var schema = "rollcall.schedules/1"
  public var schedules: [Entry]

  /// - Parameter now: Seconds since 1970; the next times are those after it.
  public init(_ schedules: [ScheduleRecord], _ ledger: SweepLedger, now: Double) throws {
    self.schedules = try schedules.map { try Entry($0, ledger, now: now) }
  }
}
