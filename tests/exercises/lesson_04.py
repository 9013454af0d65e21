"""Answers to the exercises of lesson 04."""

import torch

from exercises import right, wrong

# --- 04.field ---------------------------------------------------------------------------------------------------------


@right("04.field")
def step_by_step(layers):
    size, stride, start = 1, 1, 0
    for kernel, own_stride, padding, dilation in layers:
        size += dilation * (kernel - 1) * stride
        start -= padding * stride
        stride *= own_stride
    return size, stride, start


@right("04.field")
def by_the_library(layers):
    from course_lib.models.receptive import Field

    field = Field()
    for numbers in layers:
        field = field.through(*((number, number) for number in numbers))
    return field.size[0], field.stride[0], field.start[0]


@wrong("04.field")
def steps_of_the_layer_itself(layers):
    size, stride, start = 1, 1, 0
    for kernel, own_stride, padding, dilation in layers:
        stride *= own_stride
        size += dilation * (kernel - 1) * stride
        start -= padding * stride
    return size, stride, start


@wrong("04.field")
def forgets_the_holes(layers):
    return step_by_step([(kernel, stride, padding, 1) for kernel, stride, padding, _ in layers])


@wrong("04.field")
def padding_in_pixels(layers):
    size, stride, _ = step_by_step(layers)
    return size, stride, -sum(padding for _, _, padding, _ in layers)


@wrong("04.field")
def adds_kernels_whatever_the_strides(layers):
    _, stride, start = step_by_step(layers)
    return 1 + sum(dilation * (kernel - 1) for kernel, _, _, dilation in layers), stride, start


@wrong("04.field")
def adds_the_whole_kernel(layers):
    size, stride, start = 0, 1, 0
    for kernel, own_stride, padding, dilation in layers:
        size += dilation * kernel * stride
        start -= padding * stride
        stride *= own_stride
    return size, stride, start


@wrong("04.field")
def forgets_that_pools_see_too(layers):
    size = 1
    stride = 1
    for kernel, own_stride, _, dilation in layers:
        if own_stride == 1:
            size += dilation * (kernel - 1) * stride
        stride *= own_stride
    return size, *step_by_step(layers)[1:]


@wrong("04.field")
def starts_in_the_middle(layers):
    size, stride, _ = step_by_step(layers)
    return size, stride, -(size // 2)


@wrong("04.field")
def dilates_the_padding_too(layers):
    size, stride, start = 1, 1, 0
    for kernel, own_stride, padding, dilation in layers:
        size += dilation * (kernel - 1) * stride
        start -= dilation * padding * stride
        stride *= own_stride
    return size, stride, start


# --- 04.targets -------------------------------------------------------------------------------------------------------


def hills(joints, size, sigma, centre=0.5):
    y = (torch.arange(size[0]) + centre)[:, None]
    x = torch.arange(size[1]) + centre
    across, down = x - joints[..., 0, None, None], y - joints[..., 1, None, None]
    return torch.exp(-(across**2 + down**2) / (2 * sigma**2))


def with_background(maps):
    return torch.cat([maps, 1 - maps.amax(0, keepdim=True)])


def chosen(joints, visible, size, sigma, shown=None, centre=0.5):
    labelled = (visible > 0 if shown is None else shown)[..., None, None]
    return torch.where(labelled, hills(joints, size, sigma, centre), 0.0)


@right("04.targets")
def with_where(joints, visible, size, sigma):
    maps = chosen(joints, visible, size, sigma)
    return with_background(maps.sum(0).clamp(max=1)), with_background(maps[0])


@right("04.targets")
def by_the_model(joints, visible, size, sigma):
    from course_lib.models.cpm import ConvolutionalPoseMachine
    from course_lib.pose import Batch
    from course_lib.skeletons import Skeleton

    names = tuple(f"joint_{k}" for k in range(joints.shape[1]))
    skeleton = Skeleton("some", names, (), (0.05,) * len(names), (names[0], names[-1]), None)
    tiny = {"image_channels": (2,), "feature_channels": 2, "first_channels": 2, "stages": 1}
    model = ConvolutionalPoseMachine(skeleton, **tiny, sigma=sigma)
    batch = Batch(torch.zeros(1, 3, 8, 8), joints[:1] * 2, visible[:1], skeleton)
    everybody = model.targets(batch, size, others=(joints[None, 1:] * 2, visible[None, 1:]))
    return everybody[0], model.targets(batch, size)[0]


@wrong("04.targets")
def others_for_every_stage(joints, visible, size, sigma):
    first, _ = with_where(joints, visible, size, sigma)
    return first, first


@wrong("04.targets")
def only_the_person_meant(joints, visible, size, sigma):
    _, later = with_where(joints, visible, size, sigma)
    return later, later


@wrong("04.targets")
def highest_instead_of_the_clipped_sum(joints, visible, size, sigma):
    maps = chosen(joints, visible, size, sigma)
    return with_background(maps.amax(0)), with_background(maps[0])


@wrong("04.targets")
def sum_that_is_not_clipped(joints, visible, size, sigma):
    maps = chosen(joints, visible, size, sigma)
    return with_background(maps.sum(0)), with_background(maps[0])


@wrong("04.targets")
def background_is_one_minus_the_sum(joints, visible, size, sigma):
    maps = chosen(joints, visible, size, sigma)
    both = maps.sum(0).clamp(max=1), maps[0]
    return tuple(torch.cat([one, (1 - one.sum(0, keepdim=True)).clamp(min=0)]) for one in both)


@wrong("04.targets")
def background_first(joints, visible, size, sigma):
    return tuple(maps.roll(1, 0) for maps in with_where(joints, visible, size, sigma))


@wrong("04.targets")
def no_background(joints, visible, size, sigma):
    return tuple(maps[:-1] for maps in with_where(joints, visible, size, sigma))


@wrong("04.targets")
def unlabelled_joints_in_the_corner(joints, visible, size, sigma):
    maps = hills(joints.nan_to_num(), size, sigma)
    return with_background(maps.sum(0).clamp(max=1)), with_background(maps[0])


@wrong("04.targets")
def hidden_joints_left_out(joints, visible, size, sigma):
    maps = chosen(joints, visible, size, sigma, shown=visible == 2)
    return with_background(maps.sum(0).clamp(max=1)), with_background(maps[0])


@wrong("04.targets")
def cells_without_the_half(joints, visible, size, sigma):
    maps = chosen(joints, visible, size, sigma, centre=0.0)
    return with_background(maps.sum(0).clamp(max=1)), with_background(maps[0])


@wrong("04.targets")
def multiplied_by_the_mask(joints, visible, size, sigma):
    maps = hills(joints, size, sigma) * (visible > 0)[..., None, None]
    return with_background(maps.sum(0).clamp(max=1)), with_background(maps[0])


@wrong("04.targets")
def rows_and_columns_exchanged(joints, visible, size, sigma):
    return with_where(joints.flip(-1), visible, size, sigma)


# --- 04.machine -------------------------------------------------------------------------------------------------------


def run(images, centre, towers, features, heads, put=None, after=lambda beliefs: beliefs, shared=None, which=-1):
    put = put or (lambda own, beliefs, where: [own, beliefs, where])
    beliefs = [heads[0](features[0](towers[0](images)))]
    for feature, head in zip(features[1:], heads[1:], strict=True):
        picture = towers[1 if shared is None else shared](images)
        beliefs.append(head(torch.cat(put(feature(picture), after(beliefs[which]), centre), dim=1)))
    return torch.stack(beliefs)


@right("04.machine")
def shared_once(images, centre, towers, features, heads):
    beliefs = heads[0](features[0](towers[0](images)))[None]
    if len(heads) == 1:
        return beliefs
    shared = towers[1](images)
    for own, head in list(zip(features, heads, strict=True))[1:]:
        following = head(torch.cat([own(shared), beliefs[-1], centre], dim=1))
        beliefs = torch.cat([beliefs, following[None]])
    return beliefs


@right("04.machine")
def by_the_network(images, centre, towers, features, heads):
    from types import SimpleNamespace

    from course_lib.models.cpm import ConvolutionalPoseMachine

    model = SimpleNamespace(stride=4, heads=heads, features=features, tower=towers[0])
    model.shared_tower = towers[1] if len(towers) > 1 else None
    model.centre_map = lambda images, given: given
    return ConvolutionalPoseMachine.forward(model, images, centre)


@wrong("04.machine")
def always_the_first_beliefs(images, centre, towers, features, heads):
    return run(images, centre, towers, features, heads, which=0)


@wrong("04.machine")
def detached_beliefs(images, centre, towers, features, heads):
    return run(images, centre, towers, features, heads, after=torch.Tensor.detach)


@wrong("04.machine")
def the_first_tower_for_all(images, centre, towers, features, heads):
    return run(images, centre, towers, features, heads, shared=0)


@wrong("04.machine")
def beliefs_first(images, centre, towers, features, heads):
    return run(images, centre, towers, features, heads, put=lambda own, beliefs, where: [beliefs, own, where])


@wrong("04.machine")
def centre_map_before_the_beliefs(images, centre, towers, features, heads):
    return run(images, centre, towers, features, heads, put=lambda own, beliefs, where: [own, where, beliefs])


@wrong("04.machine")
def relu_on_the_beliefs(images, centre, towers, features, heads):
    return run(images, centre, towers, features, heads, after=torch.relu)


@wrong("04.machine")
def softmax_on_the_beliefs(images, centre, towers, features, heads):
    return run(images, centre, towers, features, heads, after=lambda beliefs: beliefs.softmax(1))


@wrong("04.machine")
def no_centre_map(images, centre, towers, features, heads):
    return run(images, 0 * centre, towers, features, heads)


@wrong("04.machine")
def centre_map_for_the_first_stage_too(images, centre, towers, features, heads):
    beliefs = [heads[0](torch.cat([features[0](towers[0](images)), centre], dim=1))]
    return torch.stack(beliefs)


@wrong("04.machine")
def only_the_last_beliefs(images, centre, towers, features, heads):
    return run(images, centre, towers, features, heads)[-1:]


@wrong("04.machine")
def one_feature_layer_for_all_later_stages(images, centre, towers, features, heads):
    return run(images, centre, towers, [features[0], *[features[min(1, len(features) - 1)]] * (len(heads) - 1)], heads)
