/// A value that the pickle interpreter built.
///
/// Containers stand in the interpreter's tables and are named here by their index: a pickle may nest a million
/// deep or hold itself, and values of this kind neither recurse when they are freed nor leak.
enum PickleValue {
  case none
  case bool(Bool)
  case int(Int)
  case double(Double)
  /// - Parameter at: where its UTF-8 begins in the pickle; nil for what does not stand there as it is.
  case string(String, at: UInt32?)
  case bytes(Int)
  case tuple(Int)
  case list(Int)
  case set(Int)
  case dictionary(Int)
  /// A class or function by name. It is never looked up, let alone called.
  case global(Int)
  case storage(Int)
  case tensor(Int)
  /// Something this reader does not interpret, by the index of its class's or function's name.
  case opaque(Int)
  /// An instance of a class whose state is kept; no tensor and no value by itself.
  case object(Int)
}

/// An instance: its class, and what was set on it.
struct PickleObject {
  var global: Int
  var state = PickleValue.none
  /// Of a NumPy array what it holds.
  var array: PickleArray?
  /// Of a NumPy dtype its first argument: `f4`.
  var dtypeCode: String?
}

/// A NumPy array.
enum PickleArray {
  case array(dtype: DType, shape: [Int], strides: [Int], byteString: Int)
  /// It cannot be given to anybody, and why.
  case unusable(String)
}

/// A byte string and where it stands.
struct PickleBytes {
  /// In the pickle.
  var range: Range<Int>
  /// Bytes that it stands for.
  var count: Int
  /// Written as text, one character a byte.
  var isText: Bool
}

/// `module.name` as the pickle spells it.
struct PickleGlobal: Hashable {
  var module: String
  var name: String

  var text: String { "\(module).\(name)" }
}

/// What a pickle leaves behind: its value and the tables that it refers to.
struct PickleContents {
  var root: PickleValue = .none
  /// Items of tuples, lists and sets.
  var sequences: [[PickleValue]] = []
  /// Entries of dictionaries in order of insertion.
  var dictionaries: [[(key: PickleValue, value: PickleValue)]] = []
  var globals: [PickleGlobal] = []
  var storages: [TorchStorage] = []
  var tensors: [TorchTensor] = []
  var objects: [PickleObject] = []
  var byteStrings: [PickleBytes] = []
  /// What is left of the memory that it may take.
  var budget = PickleBudget()
}

/// A persistent id: which record holds the bytes, and as what they are counted.
struct TorchStorage {
  /// Nil for an untyped storage, whose `elementCount` counts bytes, and for a quantized one.
  var dtype: DType?
  /// Bytes that one of `elementCount` takes.
  var elementBytes: Int
  var key: String
  var elementCount: Int
  /// The part of the record's elements that is meant, where it is not all of them (legacy files only).
  var view: Range<Int>?
  /// The class by index.
  var global: Int
}

/// The arguments of a tensor's rebuild function.
struct TorchTensor {
  var dtype: DType
  var storage: Int
  var storageOffset: Int
  var shape: [Int]
  var strides: [Int]
  var isConjugated: Bool
  var isNegated: Bool
  /// Of one rank's part of a distributed tensor: how the whole lies over the ranks.
  var metadata: CaptureMetadata?
}
