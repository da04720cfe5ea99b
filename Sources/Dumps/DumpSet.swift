/// One dumped tensor in its place: which rank wrote it, at which layer and stage, in which call.
public struct Capture: Sendable, Hashable {
  /// `torch.distributed` global rank.
  public var rank: Int
  /// Layer number; nil for what belongs to no layer.
  public var layer: Int?
  /// Stage: for ATOM the module's class name (`Block`, `MoE`).
  public var stage: String
  /// The n-th time the stage ran, from the file name; nil where the layout has no call (one-shot, weights).
  public var call: Int?
  /// The tensor; its `name` is its key in the file (`hidden`, `input`, `output_fields.x_prev`).
  public var tensor: Tensor
  /// Path relative to the set's root, for messages.
  public var file: String
  /// Modification time of the producer's file, nanoseconds since 1970 (from the manifest where there is one).
  public var modified: Int64

  public init(
    rank: Int, layer: Int?, stage: String, call: Int?, tensor: Tensor, file: String, modified: Int64
  ) {
    self.rank = rank
    self.layer = layer
    self.stage = stage
    self.call = call
    self.tensor = tensor
    self.file = file
    self.modified = modified
  }
}

/// A file, or a value in a file, that could not be taken, and why.
public struct Unreadable: Sendable, Hashable, Codable {
  public var file: String
  public var why: String
  /// Names of the values meant; nil: the file as a whole.
  public var values: [String]?

  public init(file: String, why: String, values: [String]? = nil) {
    self.file = file
    self.why = why
    self.values = values
  }
}

/// How dump files are named and what they hold.
public enum DumpLayout: String, Sendable, Hashable, Codable, CaseIterable {
  case atom
  case sglang
  case weights
  case msprobe
  case safetensors
  case npy
  case custom
}

/// Everything found under one run's dump directory: captures, and the ledger of what is not a capture.
public struct DumpSet: Sendable {
  /// The directory.
  public var root: String
  public var layout: DumpLayout
  public var captures: [Capture]
  /// Broken files and opaque values; each costs only itself.
  public var unreadable: [Unreadable]
  /// Files whose names the layout does not know.
  public var unrecognised: [String]
  /// Whether every storage was compared with its recorded CRC-32; else who reads one has to (``StorageAudit``).
  public var areChecksumsVerified = true

  public init(
    root: String, layout: DumpLayout, captures: [Capture], unreadable: [Unreadable], unrecognised: [String]
  ) {
    self.root = root
    self.layout = layout
    self.captures = captures
    self.unreadable = unreadable
    self.unrecognised = unrecognised
  }
}
