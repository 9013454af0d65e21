"""DeepCut: which candidates are real, which joint each is and whose, decided at once by an integer program.

Leonid Pishchulin et al., "DeepCut: Joint Subset Partition and Labeling for Multi Person Pose Estimation", CVPR 2016
Eldar Insafutdinov et al., "DeeperCut: A Deeper, Stronger, and Faster Multi-Person Pose Estimation Model", ECCV 2016
"""
