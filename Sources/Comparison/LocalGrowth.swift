/// Finds a stage that adds more to the distance of its own input than the same stage does in the other layers.
///
/// In a deep model the noise of all layers before hides a small fault from the onset rule: it is no larger than the
/// noisiest stage so far. What a stage makes of its input is nearly the same number in every layer, though, and a
/// fault stands out of that by far (on 36 layers honest stages stay below 1.5 times the median, a float8 rounding of
/// one input is at 3.3).
public struct LocalGrowth: Sendable {
  /// One stage of one layer, with its input.
  public struct Point: Sendable, Hashable {
    public var layer: Int
    /// Relative L2 of the input and of the output over all tokens, and of the median token.
    public var input: Double
    public var output: Double
    public var inputToken: Double
    public var outputToken: Double
    /// Below this the input's distance is rounding.
    public var floor: Double

    public init(layer: Int, input: Measures, output: Measures, floor: Double) {
      self.layer = layer
      self.floor = floor
      self.input = input.relL2
      self.output = output.relL2
      inputToken = LocalGrowth.median(input.tokenRelL2)
      outputToken = LocalGrowth.median(output.tokenRelL2)
    }

    var growth: Double { output / max(input, floor) }
    var tokenGrowth: Double { outputToken / max(inputToken, floor) }
  }

  /// A layer that stands out.
  public struct Outlier: Sendable, Hashable {
    public var layer: Int
    /// Output over input there, and in the median layer.
    public var growth: Double
    public var usual: Double

    public var factor: Double { growth / usual }

    public var why: String {
      "relative L2 is \(short(growth)) times its input's, and \(short(usual)) times in the other layers"
    }
  }

  /// The factor over the median from which a layer stands out; the onset's.
  public var onset = 2.5
  /// Layers that must be there, so that the median is known.
  public var leastLayers = 8

  public init() {}

  /// - Parameter points: one stage in every layer that has it and passed.
  /// - Returns: layers that stand out, the first first; none where they are more than a tenth of all, for then they are
  ///   a class of layers and not a fault in one.
  ///
  /// Both the whole tensor and its median token must stand out: a few tokens that took another expert do not, nor does
  /// a single row of huge values that comes or goes.
  public func outliers(_ points: [Point]) -> [Outlier] {
    let known = points.filter { $0.growth.isFinite && $0.tokenGrowth.isFinite }
    guard known.count >= leastLayers else { return [] }
    let usual = Self.median(known.map(\.growth))
    let usualToken = Self.median(known.map(\.tokenGrowth))
    guard usual > 0, usualToken > 0 else { return [] }
    let found = known.filter {
      $0.growth >= onset * usual && $0.tokenGrowth >= onset * usualToken && $0.output >= onset * $0.floor
    }
    guard found.count * 10 <= max(known.count, 10) else { return [] }
    return found.sorted { $0.layer < $1.layer }
      .map { Outlier(layer: $0.layer, growth: $0.growth, usual: usual) }
  }

  static func median(_ values: [Double]) -> Double {
    values.isEmpty ? .nan : values.ranked(values.count / 2)
  }
}
