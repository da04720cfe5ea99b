/// The keys of a job file.
struct JobKeys: KeyTable {
  let title = "job file"
  let name = Key("name", nameShape, required: true, "The job's name: letters, digits, dot, dash and underscore.")
  let matrix = Key(
    "matrix", MatrixSource.shape,
    "Axes with their values: every combination is one cell, first axis outermost; then exclude, then include.")
  let repetitions = Key(
    "repeat", .integer(1...1_000), "Runs of each cell; two or more measure the noise from run to run. Default 1.")
  let priority = Key(
    "priority", .integer(-100...100), "Runs of a higher one go before those of other jobs. Default 0.")
  let run = Key("run", .templated(RunKeys.shape), required: true, "How a run is started.")
  let dumps = Key("dumps", .templated(DumpsKeys.shape), "Where and how a run writes its dumps.")
  let overrides = Key(
    "overrides", .list(of: OverrideKeys.shape), "Changes of run and dumps for the cells that match, in order.")
  let compare = Key("compare", CompareKeys.shape, "What is compared with what, and how it is judged.")
  let logs = Key("logs", LogKeys.shape, "Patterns over the output; a breach makes the run's result INCONCLUSIVE.")
  let schedule = Key("schedule", ScheduleKeys.shape, "When `rollcall serve` starts a sweep.")
  let notify = Key("notify", .list(of: NotifyKeys.shape), "Who is told.")
  let playbook = Key("playbook", PlaybookKeys.shape, "What `rollcall playbook` may vary.")

  var keys: [AnyKey] {
    [
      name.erased, matrix.erased, repetitions.erased, priority.erased, run.erased, dumps.erased, overrides.erased,
      compare.erased, logs.erased, schedule.erased, notify.erased, playbook.erased,
    ]
  }

  static var shape: Shape<JobSource> {
    .object(JobKeys()) { fields, keys, reading in
      var job = JobSource(place: fields.value.place)
      job.name = fields(keys.name, &reading)
      job.matrix = fields(keys.matrix, &reading)
      job.hasMatrix = fields.has(keys.matrix)
      job.repetitions = fields(keys.repetitions, &reading) ?? 1
      job.priority = fields(keys.priority, &reading)
      job.run = fields(keys.run, &reading)
      job.dumps = fields(keys.dumps, &reading)
      job.overrides = fields(keys.overrides, &reading) ?? []
      job.compare = fields(keys.compare, &reading)
      job.logs = fields(keys.logs, &reading) ?? LogRules()
      job.schedule = fields(keys.schedule, &reading)
      job.notify = fields(keys.notify, &reading) ?? []
      job.playbook = fields(keys.playbook, &reading)
      return job
    }
  }

  static var nameShape: Shape<String> {
    Shape<String>.scalar(
      expects: "a name of letters, digits, dot, dash and underscore (at most 100, a letter or digit first)",
      schema: .object([
        ("type", .string("string")), ("pattern", .string("^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")),
      ])
    ) { scalar in
      guard case .string = scalar.meaning, let first = scalar.text.utf8.first, scalar.text.utf8.count <= 100 else {
        return nil
      }
      let isAlphanumeric = { (byte: UInt8) in
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
      }
      guard isAlphanumeric(first), scalar.text.utf8.allSatisfy({ isAlphanumeric($0) || "._-".utf8.contains($0) })
      else { return nil }
      return scalar.text
    }
  }
}

/// The keys of one entry of `overrides`.
struct OverrideKeys: KeyTable {
  let title = "overrides"
  let when = Key(
    "when", .axisValues(title: "when"), required: true, "Axis values: the entry is for the cells that have them all.")
  let run = Key("run", .templated(RunKeys.shape, partial: true), "Keys of run, merged into those of the job.")
  let dumps = Key("dumps", .templated(DumpsKeys.shape, partial: true), "Keys of dumps, merged into those of the job.")

  var keys: [AnyKey] { [when.erased, run.erased, dumps.erased] }

  static var shape: Shape<OverrideSource> {
    .object(OverrideKeys()) { fields, keys, reading in
      let when = fields(keys.when, &reading)
      let run = fields(keys.run, &reading)
      let dumps = fields(keys.dumps, &reading)
      if run == nil, dumps == nil {
        reading.report(fields.value.place, "an override needs `run`, `dumps` or both")
      }
      guard let when else { return nil }
      return OverrideSource(place: fields.value.place, when: when, run: run, dumps: dumps)
    }
  }
}

/// A job file before the matrix is expanded.
struct JobSource {
  var place: Place
  var name: String?
  var matrix: MatrixSource?
  var hasMatrix = false
  var repetitions = 1
  var priority: Int?
  var run: YAMLValue?
  var dumps: YAMLValue?
  var overrides: [OverrideSource] = []
  var compare: CompareKeys.Source?
  var logs = LogRules()
  var schedule: ScheduleSpec?
  var notify: [NotifySpec] = []
  var playbook: PlaybookSpec?
}

struct OverrideSource {
  var place: Place
  var when: [MatrixEntry]
  var run: YAMLValue?
  var dumps: YAMLValue?
}
