import OrderedCollections

extension Fleet.Host {
  /// A cluster in place of a machine: its address is where jobs are submitted, and Slurm places them.
  public struct Slurm: Sendable, Hashable, Codable {
    public var partition: String?
    public var account: String?
    public var qos: String?
    public var constraint: String?
    public var reservation: String?
    /// `h200` of `--gpus-per-node=h200:8`; nil: any.
    public var gpuType: String?
    /// `--gres=gpu:8` in place of `--gpus-per-node=8`, for clusters whose select plugin knows no other.
    public var usesGres: Bool
    /// Further options of sbatch, each one word.
    public var options: [String]
    /// Jobs of one coordinator that wait or run at a time.
    public var maxJobs: Int
    /// False: each run is a job by itself, even where hundreds of one shape are submitted at once.
    public var arrays: Bool?
    /// Runs of one array that run at a time; nil: all.
    public var arrayThrottle: Int?
    /// Seconds between two looks at the queue right after something has happened; more when nothing does.
    public var poll: Double
    /// An absolute path on the own disk of each node, under which a run's dumps lie until they are copied at its end;
    /// nil: in the run directory.
    public var scratch: String?

    public init(
      partition: String? = nil, account: String? = nil, qos: String? = nil, constraint: String? = nil,
      reservation: String? = nil, gpuType: String? = nil, usesGres: Bool = false, options: [String] = [],
      maxJobs: Int = Slurm.defaultMaxJobs, poll: Double = Slurm.defaultPoll, scratch: String? = nil,
      arrays: Bool? = nil, arrayThrottle: Int? = nil
    ) {
      self.partition = partition
      self.account = account
      self.qos = qos
      self.constraint = constraint
      self.reservation = reservation
      self.gpuType = gpuType
      self.usesGres = usesGres
      self.options = options
      self.maxJobs = maxJobs
      self.arrays = arrays
      self.arrayThrottle = arrayThrottle
      self.poll = poll
      self.scratch = scratch
    }

    public static let defaultMaxJobs = 500
    public static let defaultPoll = 5.0
  }
}

extension Fleet {
  /// The one host is a cluster, which places runs by itself.
  public var isCluster: Bool { hosts.contains { $0.slurm != nil } }
}

extension FleetKeys {
  /// The fleet of one cluster.
  func cluster(_ fields: Fields, _ reading: inout Reading) -> Fleet? {
    let name = fields(clusterName, &reading) ?? "slurm"
    let submit = fields(self.submit, &reading) ?? "local"
    let slurm = Fleet.Host.Slurm(
      partition: word(fields, partition, &reading), account: word(fields, account, &reading),
      qos: word(fields, qos, &reading), constraint: word(fields, constraint, &reading),
      reservation: word(fields, reservation, &reading), gpuType: word(fields, gpuType, &reading),
      usesGres: fields(gres, &reading) ?? false, options: options(fields, &reading),
      maxJobs: fields(maxJobs, &reading) ?? Fleet.Host.Slurm.defaultMaxJobs,
      poll: fields(poll, &reading) ?? Fleet.Host.Slurm.defaultPoll, scratch: nodeDirectory(fields, &reading),
      arrays: fields(arrays, &reading), arrayThrottle: fields(arrayThrottle, &reading))
    let labels = fields(self.labels, &reading) ?? [:]
    let env = HostKeys.environment(fields, self.env, &reading)
    let workdir = HostKeys.directory(fields, self.workdir, &reading) ?? Fleet.Host.defaultWorkdir
    let exclusive = fields(self.exclusive, &reading) ?? false
    let sshConfig = fields(self.sshConfig, &reading)
    if fields.has(hosts) {
      reading.report(fields.place(hosts), "with `launcher: slurm` the cluster places the runs; take out `hosts`")
    }
    if submit.hasPrefix("-") || submit.isEmpty || submit.contains(where: \.isWhitespace) {
      reading.report(fields.place(self.submit), "`submit` must be local or the ssh alias of the login node")
    }
    return Fleet(
      hosts: [
        Fleet.Host(
          name: name, address: submit == "local" ? .local : .ssh(submit), gpus: .count(0), cpuSlots: slurm.maxJobs,
          labels: labels.mapValues(\.description), env: env, workdir: workdir,
          isExclusive: exclusive, slurm: slurm)
      ], sshConfig: sshConfig)
  }

  /// Keys that a list of hosts has no use for.
  func refuseClusterKeys(_ fields: Fields, _ reading: inout Reading) {
    let keys = [
      clusterName, submit, partition, account, qos, constraint, reservation, gpuType, workdir, scratch,
    ].map { ($0.name, fields.has($0)) }
    let others = [
      (gres.name, fields.has(gres)), (sbatch.name, fields.has(sbatch)), (maxJobs.name, fields.has(maxJobs)),
      (poll.name, fields.has(poll)), (arrays.name, fields.has(arrays)),
      (arrayThrottle.name, fields.has(arrayThrottle)),
      (labels.name, fields.has(labels)), (env.name, fields.has(env)), (exclusive.name, fields.has(exclusive)),
    ]
    let found = (keys + others).filter(\.1).map { "`\($0.0)`" }
    guard !found.isEmpty else { return }
    reading.report(
      fields.value.place,
      "\(found.joined(separator: ", ")): at this level for `launcher: slurm` only; each of `hosts` has its own")
  }

  /// Nodes have other homes, or none.
  private func nodeDirectory(_ fields: Fields, _ reading: inout Reading) -> String? {
    guard let path = fields(scratch, &reading) else { return nil }
    guard path.hasPrefix("/"), path.count > 1, path.utf8.count <= 1000, !path.split(separator: "/").contains(".."),
      path.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
    else {
      reading.report(fields.place(scratch), "`scratch` must be an absolute path without ..")
      return nil
    }
    return path.hasSuffix("/") ? String(path.dropLast()) : path
  }

  /// One value of an option, which sbatch is not to take for more.
  private func word(_ fields: Fields, _ key: Key<String>, _ reading: inout Reading) -> String? {
    guard let text = fields(key, &reading) else { return nil }
    guard !text.isEmpty, !text.hasPrefix("-"), text.utf8.count <= 1000,
      text.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value != 0x7F })
    else {
      reading.report(fields.place(key), "`\(key.name)` must be one word, as sbatch takes it")
      return nil
    }
    return text
  }

  private func options(_ fields: Fields, _ reading: inout Reading) -> [String] {
    let words = fields(sbatch, &reading) ?? []
    for word in words {
      guard word.hasPrefix("--"), word.count > 2, word.utf8.count <= 1000,
        word.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
      else {
        reading.report(
          fields.place(sbatch), "an option of `sbatch` is written --name or --name=value, not \(word.shortened)")
        continue
      }
      let name = String(word.dropFirst(2).prefix { $0 != "=" })
      // sbatch takes any beginning of a name that is no other's.
      if let owned = Self.ownedOptions.first(where: { $0 == name || (name.count > 2 && $0.hasPrefix(name)) }) {
        let remedy = Self.ownKeys[owned].map { "; use the key `\($0)`" } ?? "; Rollcall sets it itself"
        reading.report(fields.place(sbatch), "the option \(word.shortened) of `sbatch` cannot be given\(remedy)")
      }
    }
    return words
  }

  /// What would break the promise that an attempt is one job, with its files where they are looked for.
  private static let ownedOptions = [
    "array", "clusters", "comment", "dependency", "error", "export", "gpus", "gpus-per-node", "gres", "hold", "input",
    "job-name", "no-requeue", "nodes", "ntasks", "ntasks-per-node", "open-mode", "output", "parsable", "requeue",
    "signal", "test-only", "time", "wait", "wrap", "partition", "account", "qos", "constraint", "reservation",
    "exclusive", "chdir", "export-file", "quiet", "verbose", "kill-on-invalid-dep", "batch", "bb", "uid", "gid",
  ]
  private static let ownKeys = [
    "partition": "partition", "account": "account", "qos": "qos", "constraint": "constraint",
    "reservation": "reservation", "exclusive": "exclusive", "time": "timeout` of the job's `run",
    "gpus": "gpus` of the job's `run", "gpus-per-node": "gpus` of the job's `run", "gres": "gpus` of the job's `run",
    "nodes": "nodes` of the job's `run",
  ]
}
