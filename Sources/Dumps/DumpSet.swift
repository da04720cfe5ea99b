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
  /// Whether a file without a call number holds the last call (each call wrote it anew), not the first.
  public var holdsLastCall = false
  /// The tensor; its `name` is its key in the file (`hidden`, `input`, `output_fields.x_prev`).
  public var tensor: Tensor
  /// Path relative to the set's root, for messages.
  public var file: String
  /// Modification time of the producer's file, nanoseconds since 1970 (from the manifest where there is one).
  public var modified: Int64
  /// What the producer wrote about the tensor; nil where the layout has no such thing.
  public var metadata: CaptureMetadata?

  public init(
    rank: Int, layer: Int?, stage: String, call: Int?, tensor: Tensor, file: String, modified: Int64,
    metadata: CaptureMetadata? = nil, holdsLastCall: Bool = false
  ) {
    self.rank = rank
    self.layer = layer
    self.stage = stage
    self.call = call
    self.holdsLastCall = holdsLastCall
    self.tensor = tensor
    self.file = file
    self.modified = modified
    self.metadata = metadata
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
  /// Trees of transformers' model debugger.
  case huggingFace = "hf"
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
  /// Files whose names the layout does not know, and, with the reason in brackets, those that hold no tensor.
  public var unrecognised: [String]
  /// Every file under `root`: also those that only say what the others hold, as indexes do.
  public var files: [String] = []
  /// Whether every storage was compared with its recorded CRC-32; else who reads one has to (``StorageAudit``).
  public var areChecksumsVerified = true
  /// Dumped values that are no tensors: request ids, flags, lists of lengths. They are no captures.
  public var plain: [PlainCapture]
  /// Ranks of the run, as far as its files say: the largest that any of them states; nil where none does.
  public var statedWorldSize: Int?
  /// No larger world is looked through for missing ranks.
  public static let worldLimit = 1 << 16
  /// One more than the largest rank by which a file is named, whether or not it could be read.
  public var namedWorldSize = 0
  /// Directories that hold the same captures.
  var rivals: Set<RivalRuns> = []
  /// Tensors of which only statistics were dumped. Each that has elements is also among `unreadable`: statistics
  /// prove nothing equal.
  public var statistics: [StatisticsCapture]

  /// Whether the captures are parameters: weight files, or safetensors and arrays of which many are named as parameters
  /// are, and none as what goes into a module or comes out of it.
  public var isCheckpoint: Bool {
    if layout == .weights { return true }
    guard [.safetensors, .npy].contains(layout), captures.allSatisfy({ $0.call == nil && $0.metadata == nil }) else {
      return false
    }
    let names = captures.map { $0.tensor.name.split(separator: ".").last.map(String.init) ?? "" }
    let isActivation = ["input", "output", "hidden", "hidden_states", "logits", "residual"].contains(
      where: names.contains)
    let endings = ["weight", "bias", "scale", "scales", "scale_inv", "qzeros", "g_idx"]
    let named = names.count { name in endings.contains(where: name.hasSuffix) }
    guard !isActivation, names.contains(where: { $0.hasSuffix("weight") }) else { return false }
    // What was computed has a row for each token.
    let isByToken = Set(captures.compactMap(\.tensor.shape.first)).count == 1
    return named * (isByToken ? 2 : 4) > names.count
  }

  public init(
    root: String, layout: DumpLayout, captures: [Capture], unreadable: [Unreadable], unrecognised: [String],
    plain: [PlainCapture] = [], statistics: [StatisticsCapture] = []
  ) {
    self.root = root
    self.layout = layout
    self.captures = captures
    self.unreadable = unreadable
    self.unrecognised = unrecognised
    self.plain = plain
    self.statistics = statistics
  }
}

/// A dumped value that is no tensor, in its place.
public struct PlainCapture: Sendable, Hashable {
  public var rank: Int
  public var layer: Int?
  public var stage: String
  public var call: Int?
  /// As a tensor of this place would be named.
  public var name: String
  public var value: Scalar
  /// Path relative to the set's root.
  public var file: String

  public init(
    rank: Int, layer: Int?, stage: String, call: Int?, name: String, value: Scalar, file: String
  ) {
    self.rank = rank
    self.layer = layer
    self.stage = stage
    self.call = call
    self.name = name
    self.value = value
    self.file = file
  }
}

/// A tensor of which the dump holds a few numbers and not the elements.
public struct StatisticsCapture: Sendable, Hashable {
  public var rank: Int
  public var layer: Int?
  public var stage: String
  public var call: Int?
  public var tensor: String
  /// As the producer writes it: `torch.bfloat16`.
  public var dtype: String
  public var shape: [Int]
  /// Over all elements; `norm` is the Euclidean one. Nil where the producer gives none.
  public var maximum: Double?
  public var minimum: Double?
  public var mean: Double?
  public var norm: Double?
  /// Hexadecimal CRC-32 or XOR of the bytes (the producer's `md5`); nil where it gives none.
  public var checksum: String?
  /// Path relative to the set's root.
  public var file: String

  public init(
    rank: Int, layer: Int?, stage: String, call: Int?, tensor: String, dtype: String, shape: [Int],
    maximum: Double? = nil, minimum: Double? = nil, mean: Double? = nil, norm: Double? = nil, checksum: String? = nil,
    file: String
  ) {
    self.rank = rank
    self.layer = layer
    self.stage = stage
    self.call = call
    self.tensor = tensor
    self.dtype = dtype
    self.shape = shape
    self.maximum = maximum
    self.minimum = minimum
    self.mean = mean
    self.norm = norm
    self.checksum = checksum
    self.file = file
  }
}
